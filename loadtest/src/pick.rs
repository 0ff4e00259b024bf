//! Who gets the next event: in turn, or some much more often than others. Every choice follows from the seed.

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How many choices are drawn beforehand; they repeat after that.
const DRAWN: usize = 1 << 16;

/// The order in which users get events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick(Vec<u32>);

impl Pick {
    /// Each of `users` in turn.
    pub fn in_turn(users: usize) -> Self {
        Self::in_turn_among(0..users)
    }

    /// Each of these in turn.
    pub fn in_turn_among(users: std::ops::Range<usize>) -> Self {
        Self((users.start as u32..users.end as u32).collect())
    }

    /// The first user most often, the second half as often, the third a third (Zipf's law with exponent 1).
    pub fn zipf(users: usize, seed: u64) -> Self {
        let mut sums = Vec::with_capacity(users);
        let mut sum = 0.0;
        for rank in 1..=users {
            sum += 1.0 / rank as f64;
            sums.push(sum);
        }
        let mut random = StdRng::seed_from_u64(seed);
        let draws = (0..DRAWN).map(|_| random.random_range(0.0..sum));
        Self(draws.map(|drawn| sums.partition_point(|upto| *upto < drawn) as u32).collect())
    }

    /// The user whose turn it is.
    pub fn user(&self, turn: u64) -> u32 {
        self.0[(turn % self.0.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_turn_means_everybody_equally() {
        let pick = Pick::in_turn(3);
        assert_eq!((0..6).map(|turn| pick.user(turn)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert_eq!((0..3).map(|turn| Pick::in_turn_among(7..9).user(turn)).collect::<Vec<_>>(), [7, 8, 7]);
    }

    #[test]
    fn the_first_is_picked_about_twice_as_often_as_the_second() {
        let pick = Pick::zipf(100, 7);
        assert_eq!(pick, Pick::zipf(100, 7));
        assert_ne!(pick, Pick::zipf(100, 8));
        let count = |user| pick.0.iter().filter(|it| **it == user).count() as f64;
        let ratio = count(0) / count(1);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
        assert!(pick.0.iter().all(|user| *user < 100));
    }
}
