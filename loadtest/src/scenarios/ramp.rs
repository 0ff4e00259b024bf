//! The highest rate of `unicast` at which p99 stays under the bound and nothing is lost: doubled until it does not, then halved in.

use super::unicast;
use crate::{
    fault::Fault, ground::Ground, measured::Measured, receivers::Manner, results::Growth, settings::Settings, stream,
};

/// The first rate, where none is given.
const FIRST: f64 = 1_000.0;
/// How near the highest rate that held and the lowest that did not have to be.
const NEAR: f64 = 1.1;
/// No server is that fast.
const MOST: f64 = 1_000_000.0;

/// Steps of five seconds.
pub fn defaults() -> Settings {
    let second = std::time::Duration::from_secs(1);
    Settings { duration: 5 * second, warmup: second, emitters: 64, ..unicast::defaults() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let bound_us = crate::latency::micros(settings.bound);
    let mut steps: Vec<Growth> = Vec::new();
    let (mut held, mut failed): (Option<(f64, Measured)>, Option<f64>) = (None, None);
    while let Some(rate) = next(settings.rate, held.as_ref().map(|held| held.0), failed) {
        let step = Settings { rate: Some(rate), ..settings.clone() };
        let shape = unicast::shape("ramp", settings.connections, Manner::Plain);
        let measured = stream::run(ground, &step, shape).await?;
        let counts = measured.counts;
        let holds = measured.latency.p99_us <= bound_us
            && measured.failures.is_empty()
            && counts.missing + counts.refused + counts.unanswered == 0;
        steps.push(measured.step("rate", rate, holds));
        if holds {
            held = Some((rate, measured));
        } else {
            failed = Some(rate);
        }
    }
    steps.sort_by(|a, b| a.n.total_cmp(&b.n));
    let (rate, mut measured) = held.ok_or_else(|| {
        Fault::Nothing(format!("no rate kept p99 under {:?}; the lowest tried was {:.0}/s", settings.bound, steps[0].n))
    })?;
    measured.rate = Some(rate);
    measured.growth = steps;
    measured.notes.push(("highest rate".to_owned(), format!("{rate:.0}/s with p99 under {:?}", settings.bound)));
    Ok(measured)
}

/// The next rate to try; `None` once the limit is known well enough.
fn next(first: Option<f64>, held: Option<f64>, failed: Option<f64>) -> Option<f64> {
    match (held, failed) {
        (None, None) => Some(first.unwrap_or(FIRST)),
        (Some(held), None) => (held < MOST).then_some(held * 2.0),
        (None, Some(failed)) => (failed > 1.0).then_some(failed / 2.0),
        (Some(held), Some(failed)) => (failed / held > NEAR).then(|| (held * failed).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (first, limit) in [(Some(100.0), 7_300.0), (Some(100_000.0), 7_300.0), (None, 1_000.0)] {
            let (mut held, mut failed, mut steps) = (None, None, 0);
            while let Some(rate) = next(first, held, failed) {
                *(if rate <= limit { &mut held } else { &mut failed }) = Some(rate);
                steps += 1;
            }
            let held = held.expect("something holds");
            assert!(held <= limit && limit < held * NEAR, "{held}");
            assert!(steps < 20, "{steps}");
        }
    }
}
