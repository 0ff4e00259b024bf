//! Dice for each part of a workload: one seed gives every part the same ones again, whatever the others do. Knows nothing of what
//! they decide.

use rand::{SeedableRng, rngs::StdRng};

/// A part of a workload that draws dice of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The emitter of a user's events.
    Emitter,
    /// A device of a user, by number.
    Device(usize),
    /// One stream of faults.
    Faults(u64),
    /// What an event of a user says, by its number.
    Contents(u64),
}

/// The dice of one part for one user, by number.
pub(super) fn dice(seed: u64, part: Part, user: usize) -> StdRng {
    let (part, n) = match part {
        Part::Emitter => (0, 0),
        Part::Device(device) => (1 + device as u64, 0),
        Part::Faults(stream) => (u64::MAX - stream, 0),
        // An event's number is never 0, so that its dice are nobody else's.
        Part::Contents(n) => (0, n),
    };
    let mut bytes = [0; 32];
    for (place, number) in bytes.chunks_exact_mut(8).zip([seed, part, user as u64, n]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn each_part_has_dice_of_its_own_and_the_same_ones_again() {
        let parts = || [Part::Emitter, Part::Device(0), Part::Device(1), Part::Faults(0), Part::Contents(1)];
        let first = |seed, user| parts().map(|part| dice(seed, part, user).random::<u64>());
        assert_eq!(first(1, 1), first(1, 1));
        let mut all = [first(1, 1), first(2, 1), first(1, 2)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 15);
    }
}
