//! What a device does with one connection, as its dice say. Knows nothing of how it is done.

use std::{ops::Range, time::Duration};

use rand::{RngExt, rngs::StdRng};

use super::way::{Failing, Way};

/// How long a device stays, in milliseconds.
const STAY_MS: Range<u64> = 50..1_500;
/// How long it is away.
const AWAY_MS: Range<u64> = 0..400;
/// So many times as long it stays, and is away, where it reads slowly or its upgrade comes to nothing: the one needs time, and the
/// other does its harm late.
const LONGER: u32 = 6;
/// Of how many stays one acknowledges nothing.
const SILENT_ONE_IN: u32 = 8;
/// What the slowest reader takes in a second, in bytes: a little more than what the contract calls slow and not dead, for a
/// busy machine makes it a little less.
const SLOWEST: u64 = 16 * 1024;
/// How many times as much the quickest of the slow readers takes.
const QUICKEST: f64 = 25.0;

/// How a device goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It says so, and reads what the server had sent by then.
    Politely,
    /// Its line is cut.
    Cut,
    /// Its line falls silent, and nobody tells the server.
    HalfOpen,
}

/// What there is to choose from.
#[derive(Debug, Clone)]
pub(super) struct Choices {
    pub(super) nodes: usize,
    /// The ways in which a device's packets may travel; each is as likely as it stands there often.
    pub(super) ways: Vec<Way>,
    /// The ways in which it may leave, likewise.
    pub(super) leavings: Vec<Leaving>,
    /// Of a hundred stays, so many read slowly.
    pub(super) slow_percent: u32,
}

/// What a device does with one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) node: usize,
    pub(super) way: Way,
    /// How its upgrade comes to nothing, where it is to.
    pub(super) failing: Failing,
    /// What it reads in a second, in bytes, where it reads slowly.
    pub(super) bytes_a_second: Option<u64>,
    pub(super) stays: Duration,
    /// Whether it acknowledges nothing.
    pub(super) silent: bool,
    pub(super) leaving: Leaving,
    pub(super) away: Duration,
}

impl Plan {
    /// Always as many dice, so that a run repeats another's choices, however it goes.
    pub(super) fn draw(choices: &Choices, dice: &mut StdRng) -> Self {
        let Choices { nodes, ways, leavings, slow_percent } = choices;
        let node = dice.random_range(0..*nodes);
        let way = ways[dice.random_range(0..ways.len())];
        let failing = Failing::ALL[dice.random_range(0..Failing::ALL.len())];
        let slow = dice.random_range(0..100) < *slow_percent;
        // Most are nearer to the slowest: what is hard happens there.
        let bytes_a_second = (SLOWEST as f64 * QUICKEST.powf(dice.random_range(0.0..1.0))) as u64;
        let stays = Duration::from_millis(dice.random_range(STAY_MS));
        let silent = dice.random_ratio(1, SILENT_ONE_IN);
        let leaving = leavings[dice.random_range(0..leavings.len())];
        let away = Duration::from_millis(dice.random_range(AWAY_MS));
        let longer = if slow || way == Way::FailedUpgrade { LONGER } else { 1 };
        Self {
            node,
            way,
            failing,
            bytes_a_second: slow.then_some(bytes_a_second),
            stays: stays * longer,
            // One that stays for long would be closed for it (ACK-09).
            silent: silent && longer == 1,
            leaving,
            away: away * longer,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn plans(slow_percent: u32, ways: &[Way]) -> Vec<Plan> {
        let leavings = vec![Leaving::Politely, Leaving::Cut];
        let choices = Choices { nodes: 2, ways: ways.to_vec(), leavings, slow_percent };
        let mut dice = StdRng::seed_from_u64(1);
        (0..1_000).map(|_| Plan::draw(&choices, &mut dice)).collect()
    }

    #[test]
    fn every_way_and_every_failure_has_its_share() {
        let plans = plans(12, &Way::ALL);
        for way in Way::ALL {
            assert!(plans.iter().filter(|plan| plan.way == way).count() > 200, "{way}");
        }
        for failing in Failing::ALL {
            let is = |plan: &&Plan| plan.way == Way::FailedUpgrade && plan.failing == failing;
            assert!(plans.iter().filter(is).count() > 30, "{failing:?}");
        }
    }

    #[test]
    fn slow_readers_take_between_16_and_400_kb_a_second_and_stay_longer_and_acknowledge() {
        let slow: Vec<_> =
            plans(12, &[Way::Polling]).into_iter().filter(|plan| plan.bytes_a_second.is_some()).collect();
        assert!((80..160).contains(&slow.len()), "{}", slow.len());
        let rates: Vec<_> = slow.iter().filter_map(|plan| plan.bytes_a_second).collect();
        assert!(rates.iter().all(|rate| (16_384..=409_600).contains(rate)), "{rates:?}");
        assert!(rates.iter().any(|rate| *rate < 20_000) && rates.iter().any(|rate| *rate > 300_000), "{rates:?}");
        assert!(slow.iter().any(|plan| plan.stays > Duration::from_secs(6)));
        assert!(slow.iter().all(|plan| !plan.silent));
    }

    #[test]
    fn what_is_turned_off_does_not_happen_and_changes_no_other_choice() {
        let (with, without) = (plans(12, &[Way::Polling]), plans(0, &[Way::WebSocket]));
        assert!(without.iter().all(|plan| plan.bytes_a_second.is_none() && plan.way == Way::WebSocket));
        let choices = |plans: &[Plan]| plans.iter().map(|plan| (plan.node, plan.leaving)).collect::<Vec<_>>();
        assert_eq!(choices(&with), choices(&without));
    }
}
