//! How often repeated cases fail, and how much so many repetitions can tell. Counts; knows nothing of cases and of reports.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// The quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.959_964;

/// How often something was run, and how often it failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rate {
    /// So many runs with a result.
    pub runs: usize,
    /// So many of them failed, known failures included.
    pub failed: usize,
    /// The share that failed, from 0 to 1.
    pub rate: f64,
    /// The upper end of the 95 % Wilson interval: what the true rate may still be.
    pub upper_95: f64,
}

/// The flake rates of a run with repetitions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Flakes {
    /// The cases that have passed at least once, taken together: what always fails is broken and does not flake.
    pub overall: Rate,
    /// Each case that had a result.
    pub cases: BTreeMap<String, Rate>,
}

impl Rate {
    /// `failed` of `runs`.
    pub fn new(failed: usize, runs: usize) -> Self {
        let rate = if runs == 0 { 0.0 } else { failed as f64 / runs as f64 };
        Self { runs, failed, rate, upper_95: wilson_upper(failed, runs) }
    }

    /// Whether it both passed and failed.
    pub fn flakes(&self) -> bool {
        self.failed > 0 && self.failed < self.runs
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, upper) = (percent(self.rate), bound(self.upper_95));
        write!(f, "failed {} of {} runs ({rate}; the true rate may be up to {upper})", self.failed, self.runs)
    }
}

impl Flakes {
    /// The rates of cases by their counts of failed and of all runs.
    pub fn of<'a>(counts: impl IntoIterator<Item = (&'a str, usize, usize)>) -> Self {
        let counts = counts.into_iter().filter(|(_, _, runs)| *runs > 0);
        let cases: BTreeMap<_, _> = counts.map(|(id, failed, runs)| (id.to_owned(), Rate::new(failed, runs))).collect();
        let sound = cases.values().filter(|rate| rate.failed < rate.runs);
        let (failed, runs) = sound.fold((0, 0), |(failed, runs), rate| (failed + rate.failed, runs + rate.runs));
        Self { overall: Rate::new(failed, runs), cases }
    }

    /// The cases that both passed and failed.
    pub fn flaky(&self) -> impl Iterator<Item = (&str, &Rate)> {
        self.cases.iter().filter(|(_, rate)| rate.flakes()).map(|(id, rate)| (id.as_str(), rate))
    }

    /// How steady the cases were in `repeat` repetitions, and how much so many can tell.
    pub fn words(&self, repeat: usize) -> String {
        let Rate { runs, failed, rate, upper_95 } = self.overall;
        if runs == 0 {
            format!("{repeat} times; no case passed, so nothing is known of flakes")
        } else if failed == 0 {
            format!(
                "{repeat} times, no flake in {runs} runs: with 95 % confidence the flake rate is below {} over all cases, \
                 and below {} for any one of them",
                bound(upper_95),
                bound(Rate::new(0, repeat).upper_95)
            )
        } else {
            format!(
                "{repeat} times, {failed} {} in {runs} runs: {} (the true rate may be up to {})",
                if failed == 1 { "flake" } else { "flakes" },
                percent(rate),
                bound(upper_95)
            )
        }
    }
}

fn percent(share: f64) -> String {
    rounded(share, f64::round)
}

/// Rounded up, so that no bound is told smaller than it is.
fn bound(share: f64) -> String {
    rounded(share, f64::ceil)
}

fn rounded(share: f64, round: fn(f64) -> f64) -> String {
    let scale = if share < 0.01 { 100.0 } else { 1.0 };
    format!("{} %", round(share * 100.0 * scale) / scale)
}

/// Unlike the plain share ± its deviation, it says something where nothing failed: after n runs, z² / (n + z²).
fn wilson_upper(failed: usize, runs: usize) -> f64 {
    if runs == 0 {
        return 1.0;
    }
    let (n, p) = (runs as f64, failed as f64 / runs as f64);
    let middle = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle + spread) / (1.0 + Z * Z / n)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 5e-5
    }

    #[test]
    fn the_upper_bound_is_wilsons() {
        for (failed, runs, expected) in
            [(0, 1, 0.79345), (0, 20, 0.16113), (0, 1000, 0.00383), (1, 10, 0.40415), (5, 10, 0.76341), (10, 10, 1.0)]
        {
            let upper = Rate::new(failed, runs).upper_95;
            assert!(near(upper, expected), "{failed} of {runs}: {upper}");
        }
        assert!(near(Rate::new(0, 0).upper_95, 1.0), "no run tells nothing");
    }

    #[test]
    fn what_always_fails_is_no_flake_and_not_part_of_the_overall_rate() {
        let flakes = Flakes::of([("A-01/steady", 0, 10), ("A-02/flaky", 1, 10), ("A-03/broken", 10, 10)]);
        assert_eq!(flakes.flaky().map(|(id, _)| id).collect::<Vec<_>>(), ["A-02/flaky"]);
        assert_eq!((flakes.overall.failed, flakes.overall.runs), (1, 20));
    }

    #[test]
    fn a_case_without_a_result_has_no_rate() {
        assert_eq!(Flakes::of([("A-01/x", 0, 0)]).cases.len(), 0);
    }
}
