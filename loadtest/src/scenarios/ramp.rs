//! Finds the highest rate in open loop that keeps p99 under the bound with nothing lost: doubles it until that breaks, then halves
//! the distance between the highest that held and the lowest that broke.

use std::time::Duration;

use super::unicast;
use crate::{
    fault::Fault, ground::Ground, measured::Measured, receivers::Manner, results::Growth, settings::Settings, stream,
};

/// How often the distance is halved: to about 6 % of the rate.
const HALVINGS: u32 = 4;
/// No machine that this is run on gets that far.
const RATE_MOST: f64 = 1e6;

/// From 1,000 a second on, 10 seconds each, to one of a thousand users.
pub fn defaults() -> Settings {
    let (warmup, duration) = (Duration::from_secs(2), Duration::from_secs(10));
    Settings { rate: Some(1_000.0), emitters: 64, warmup, duration, ..Settings::default() }
}

/// The two rates between which the highest one that holds must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Search {
    held: Option<f64>,
    broke: Option<f64>,
    halvings: u32,
}

impl Search {
    const fn new() -> Self {
        Self { held: None, broke: None, halvings: 0 }
    }

    fn note(&mut self, rate: f64, held: bool) {
        if self.held.is_some() && self.broke.is_some() {
            self.halvings += 1;
        }
        *(if held { &mut self.held } else { &mut self.broke }) = Some(rate);
    }

    /// The next rate to try; `None` once it is known well enough.
    fn next(&self, first: f64) -> Option<f64> {
        match (self.held, self.broke) {
            (None, None) => Some(first),
            (Some(held), None) => Some(held * 2.0).filter(|rate| *rate <= RATE_MOST),
            // Nothing has held: not even the first rate, nor its quarter.
            (None, Some(broke)) => Some(broke / 2.0).filter(|rate| *rate >= first / 4.0),
            (Some(held), Some(broke)) => {
                Some(f64::midpoint(held, broke).round()).filter(|_| self.halvings < HALVINGS && broke / held > 1.06)
            }
        }
    }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out, a step included.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let first = settings.rate.unwrap_or(1_000.0);
    let bound_us = settings.bound.as_micros() as u64;
    let (mut search, mut steps, mut best) = (Search::new(), Vec::<Growth>::new(), None);
    while let Some(rate) = search.next(first) {
        let step = Settings { rate: Some(rate), goose_reports: Vec::new(), ..settings.clone() };
        let shape = unicast::shape("ramp", settings.connections, Manner::Plain);
        let measured = stream::run(ground, &step, shape).await?;
        let counts = measured.counts;
        let lost = counts.missing + counts.unanswered + counts.refused;
        let held = measured.failures.is_empty() && lost == 0 && measured.latency.p99_us <= bound_us;
        eprintln!(
            "  ramp: {rate:.0}/s, p99 {:.1} ms, {lost} lost: {}",
            measured.latency.p99_us as f64 / 1_000.0,
            if held { "held" } else { "broken" }
        );
        steps.push(measured.step("rate", rate, held));
        if held || best.is_none() {
            best = Some((rate, held, measured));
        }
        search.note(rate, held);
    }
    let (rate, held, mut measured) = best.ok_or_else(|| Fault::Nothing("the ramp had no step".to_owned()))?;
    let bound = settings.bound;
    if held {
        let note = format!("{rate:.0} events/s with p99 within {bound:?} and nothing lost; the figures are of that step");
        measured.notes.push(("highest rate".to_owned(), note));
    } else {
        measured.failures.push(format!("no rate from {:.0}/s on kept p99 within {bound:?} with nothing lost", first / 4.0));
    }
    steps.sort_by(|a, b| a.n.total_cmp(&b.n));
    measured.growth = steps;
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every rate that is tried against a server that breaks above `capacity`.
    fn tried(first: f64, capacity: f64) -> (Vec<f64>, Option<f64>) {
        let (mut search, mut rates) = (Search::new(), Vec::new());
        while let Some(rate) = search.next(first) {
            rates.push(rate);
            search.note(rate, rate <= capacity);
        }
        (rates, search.held)
    }

    #[test]
    fn the_highest_rate_is_found_within_a_few_per_cent() {
        for capacity in [1_000.0, 1_990.0, 12_345.0, 39_000.0, 700.0, 260.0] {
            let (rates, held) = tried(1_000.0, capacity);
            let held = held.expect("one held");
            assert!(held <= capacity && held > capacity / 1.13, "{held} of {capacity}: {rates:?}");
            assert!(rates.len() <= 12, "{rates:?}");
        }
    }

    #[test]
    fn a_server_that_holds_nothing_is_given_up() {
        assert_eq!(tried(1_000.0, 10.0), (vec![1_000.0, 500.0, 250.0], None));
    }

    #[test]
    fn a_server_that_holds_everything_is_given_up_too() {
        let (rates, held) = tried(1_000.0, f64::INFINITY);
        assert_eq!((rates.len(), held), (10, Some(512_000.0)));
    }
}
