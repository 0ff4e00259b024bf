//! Two measurements of the same, A and B: by how much each figure has changed, and whether that is more than noise.

use std::fmt::Write as _;

use crate::{
    figure::{Figure, Kind},
    results::Results,
    rounds::{Spread, key},
    table::Table,
    units::{line, percent, ratio},
};

/// From so many rounds on, their spread says what noise is.
const ROUNDS: usize = 3;
/// What repeated runs differ by where generator and server share a few cores: rates and latencies…
const NOISE_SHARED: f64 = 0.25;
/// …and what does not depend on who else is running: processor time for a delivery, and memory.
const NOISE_OWN: f64 = 0.15;

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What has to be known before the ratios are believed.
    pub remarks: Vec<String>,
    /// Each figure that both have.
    pub changes: Vec<Change>,
    /// Whether each side has rounds enough for its own spread to be the noise.
    pub by_spread: bool,
}

/// One figure in both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Which.
    pub figure: Figure,
    /// Median of A.
    pub a: f64,
    /// Median of B.
    pub b: f64,
    /// The share by which two measurements of the same differ; `None` where that is not known.
    pub noise: Option<f64>,
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// No more than repeated runs differ by.
    Noise,
    /// It cannot be said: single runs differ by more than any default.
    Unknown,
    /// B is better.
    Better,
    /// B is worse.
    Worse,
}

impl Change {
    /// B ÷ A, where A is not 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.a != 0.0).then(|| self.b / self.a)
    }

    /// Whether it is more than noise. Counts of what must not happen have none.
    pub fn meaning(&self) -> Meaning {
        // Of the same factor up as down: 1.25 and 1/1.25.
        let outside = |ratio: f64, noise: f64| ratio > 1.0 + noise || ratio < 1.0 / (1.0 + noise);
        let changed = match (self.figure.kind(), self.ratio(), self.noise) {
            (Kind::Count, ..) | (_, None, _) => self.a != self.b,
            (_, Some(ratio), Some(noise)) => outside(ratio, noise),
            (_, Some(_), None) => return Meaning::Unknown,
        };
        match (changed, (self.b > self.a) == self.figure.more_is_better()) {
            (false, _) => Meaning::Noise,
            (true, true) => Meaning::Better,
            (true, false) => Meaning::Worse,
        }
    }
}

/// Two files of results side by side: each load on each target by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparisons {
    /// The load with its target, and what came of it.
    pub each: Vec<(String, Comparison)>,
    /// What only one of the files has.
    pub alone: Vec<String>,
}

/// Compares what two files hold. Where each holds one load on one target, these are compared, whatever they are.
pub fn compare_all(a: &[Results], b: &[Results]) -> Comparisons {
    let (mut a, mut b) = (sorted(a), sorted(b));
    if let ([(name, a)], [(_, b)]) = (a.as_slice(), b.as_slice()) {
        return Comparisons { each: vec![(name.clone(), compare(a, b))], alone: Vec::new() };
    }
    let mut each = Vec::new();
    a.retain(|(name, before)| {
        let Some(at) = b.iter().position(|(other, _)| other == name) else { return true };
        let (name, after) = b.remove(at);
        each.push((name, compare(before, &after)));
        false
    });
    let only = |file: &'static str| move |(name, _): (String, Vec<Results>)| format!("only {file} holds {name}");
    let alone = a.into_iter().map(only("A")).chain(b.into_iter().map(only("B")));
    Comparisons { each, alone: alone.collect() }
}

/// Rounds of the same together.
fn sorted(runs: &[Results]) -> Vec<(String, Vec<Results>)> {
    let mut sorted: Vec<(String, Vec<Results>)> = Vec::new();
    for run in runs {
        let name = format!("{} on {}", key(run), run.environment.target);
        match sorted.iter_mut().find(|(other, _)| *other == name) {
            Some((_, rounds)) => rounds.push(run.clone()),
            None => sorted.push((name, vec![run.clone()])),
        }
    }
    sorted
}

impl Comparisons {
    /// Whether a figure is worse by more than noise, or there was nothing to compare.
    pub fn is_worse(&self) -> bool {
        self.each.is_empty() || self.each.iter().any(|(_, comparison)| comparison.is_worse())
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, comparison) in &self.each {
            let _ = writeln!(text, "{}\n\n{}", line(name), comparison.text());
        }
        for alone in &self.alone {
            let _ = writeln!(text, "{}", line(alone));
        }
        text
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (name, comparison) in &self.each {
            let _ = writeln!(text, "{}\n{}", crate::table::cell(name), comparison.markdown());
        }
        for alone in &self.alone {
            let _ = writeln!(text, "> {}\n", crate::table::cell(alone));
        }
        text
    }
}

/// Compares two measurements, each of one run or of several rounds of the same.
pub fn compare(a: &[Results], b: &[Results]) -> Comparison {
    let by_spread = a.len() >= ROUNDS && b.len() >= ROUNDS;
    let told = |figure: &Figure| a.iter().chain(b).any(|run| figure.tells_more(run));
    let changes = Figure::ALL.into_iter().filter(told).filter_map(|figure| {
        let (a, b) = (Spread::of(a, figure)?, Spread::of(b, figure)?);
        let noise = match figure.kind() {
            _ if by_spread => Some(a.relative().max(b.relative())),
            // One slow moment makes them.
            _ if matches!(figure, Figure::P999 | Figure::Max) => None,
            Kind::Seconds | Kind::Bytes => Some(NOISE_OWN),
            Kind::Latency | Kind::Rate | Kind::Count => Some(NOISE_SHARED),
        };
        Some(Change { figure, a: a.median, b: b.median, noise })
    });
    Comparison { remarks: remarks(a, b), changes: changes.collect(), by_spread }
}

/// What was not the same.
fn remarks(a: &[Results], b: &[Results]) -> Vec<String> {
    let (Some(first), Some(second)) = (a.first(), b.first()) else { return Vec::new() };
    let (left, right) = (&first.environment, &second.environment);
    let mut remarks = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            remarks.push(format!("{what} differs: {a} in A, {b} in B"));
        }
    };
    differ("the load", &key(first), &key(second));
    differ("the target", &left.target, &right.target);
    differ("the store", &left.store, &right.store);
    differ("the machine", &left.machine, &right.machine);
    differ("the processor", left.processor.as_deref().unwrap_or("?"), right.processor.as_deref().unwrap_or("?"));
    differ("the number of cores", &left.cores.to_string(), &right.cores.to_string());
    let built = |optimised| if optimised { "optimised" } else { "not optimised" };
    differ("the harness's build", built(left.optimised), built(right.optimised));
    for (name, runs) in [("A", a), ("B", b)] {
        if runs.iter().any(|run| !run.verdict.passed) {
            remarks.push(format!("{name} holds a failed run: its figures are those of something that did not work"));
        }
    }
    remarks
}

impl Comparison {
    /// Whether a figure is worse by more than noise.
    pub fn is_worse(&self) -> bool {
        self.changes.iter().any(|change| change.meaning() == Meaning::Worse)
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["figure", "A", "B", "B ÷ A", "noise", "meaning"]).ending_in_words();
        for change in &self.changes {
            table.row([
                change.figure.words().to_owned(),
                change.figure.show(change.a),
                change.figure.show(change.b),
                change.ratio().map_or_else(|| "–".to_owned(), ratio),
                match (change.figure.kind(), change.noise) {
                    (Kind::Count, _) => "none".to_owned(),
                    (_, Some(noise)) => format!("±{}", percent(noise)),
                    (_, None) => "unknown".to_owned(),
                },
                match change.meaning() {
                    Meaning::Noise if change.a == change.b => "same",
                    Meaning::Noise => "within the noise",
                    Meaning::Unknown => "not judged",
                    Meaning::Better => "better",
                    Meaning::Worse => "WORSE",
                }
                .to_owned(),
            ]);
        }
        table
    }

    /// Where the noise comes from, in a sentence.
    fn noise(&self) -> String {
        if self.by_spread {
            "Noise is the spread of each figure over the rounds, of A or of B, whichever is larger.".to_owned()
        } else {
            format!(
                "Noise is assumed: ±{} for rates and latencies, ±{} for processor time and memory, as repeated runs differ where \
                 generator and server share a few cores; of the rarest latencies it is not known. {ROUNDS} rounds on each side \
                 measure it.",
                percent(NOISE_SHARED),
                percent(NOISE_OWN)
            )
        }
    }

    fn verdict(&self) -> String {
        let of = |meaning| {
            let names =
                self.changes.iter().filter(|change| change.meaning() == meaning).map(|change| change.figure.words());
            names.collect::<Vec<_>>().join(", ")
        };
        match (of(Meaning::Worse), of(Meaning::Better)) {
            (worse, better) if worse.is_empty() && better.is_empty() => "SAME: nothing is outside the noise".to_owned(),
            (worse, better) if worse.is_empty() => format!("BETTER: {better}"),
            (worse, better) if better.is_empty() => format!("WORSE: {worse}"),
            (worse, better) => format!("WORSE: {worse} (better: {better})"),
        }
    }

    /// For the terminal; the verdict is the last line.
    pub fn text(&self) -> String {
        let mut text = self.table().text();
        let _ = writeln!(text, "\n  {}", self.noise());
        for remark in &self.remarks {
            let _ = writeln!(text, "  note  {}", line(remark));
        }
        let _ = writeln!(text, "\n{}", self.verdict());
        text
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n{}\n", self.verdict(), self.table().markdown(), self.noise());
        for remark in &self.remarks {
            let _ = writeln!(text, "\n> {}", crate::table::cell(remark));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn run(change: impl Fn(&mut Results)) -> Results {
        let mut results = sample::good();
        change(&mut results);
        results
    }

    fn meaning(comparison: &Comparison, figure: Figure) -> Meaning {
        comparison.changes.iter().find(|change| change.figure == figure).expect("both have it").meaning()
    }

    #[test]
    fn the_same_twice_is_the_same() {
        let comparison = compare(&[sample::good()], &[sample::good()]);
        assert!(!comparison.is_worse() && comparison.remarks.is_empty());
        assert_eq!(comparison.text().lines().last(), Some("SAME: nothing is outside the noise"));
        assert!(comparison.text().contains("Noise is assumed: ±25 %"));
    }

    #[test]
    fn single_runs_are_judged_by_the_default_in_the_direction_of_the_figure() {
        let a = [sample::good()];
        for (factor, rate, p99, cpu) in [
            (1.1, Meaning::Noise, Meaning::Noise, Meaning::Noise),
            (1.2, Meaning::Noise, Meaning::Noise, Meaning::Worse),
            (1.3, Meaning::Better, Meaning::Worse, Meaning::Worse),
            (1.0 / 1.2, Meaning::Noise, Meaning::Noise, Meaning::Better),
            (0.5, Meaning::Worse, Meaning::Better, Meaning::Better),
        ] {
            let b = run(|it| {
                it.rates.delivered_per_s *= factor;
                it.latency.p99_us = (it.latency.p99_us as f64 * factor) as u64;
                it.resources.server_cpu_s_per_100k = it.resources.server_cpu_s_per_100k.map(|cpu| cpu * factor);
            });
            let comparison = compare(&a, &[b]);
            let found = [Figure::Rate, Figure::P99, Figure::CpuPer100k].map(|figure| meaning(&comparison, figure));
            assert_eq!(found, [rate, p99, cpu], "{factor}");
        }
    }

    #[test]
    fn the_spread_of_several_rounds_takes_the_place_of_the_default() {
        let rounds = |rates: [f64; 3]| rates.map(|per_s| run(|it| it.rates.delivered_per_s = per_s));
        let steady = compare(&rounds([100.0, 101.0, 99.0]), &rounds([90.0, 91.0, 89.0]));
        assert_eq!(meaning(&steady, Figure::Rate), Meaning::Worse, "10 % less, where rounds differ by 2 %");
        let wild = compare(&rounds([100.0, 140.0, 70.0]), &rounds([80.0, 81.0, 79.0]));
        assert_eq!(meaning(&wild, Figure::Rate), Meaning::Noise);
    }

    #[test]
    fn the_worst_of_a_single_run_is_not_judged() {
        let comparison = compare(&[sample::good()], &[run(|it| it.latency.max_us *= 9)]);
        assert_eq!(meaning(&comparison, Figure::Max), Meaning::Unknown);
        assert!(!comparison.is_worse());
    }

    #[test]
    fn one_missing_delivery_is_no_noise() {
        let comparison = compare(&[sample::good()], &[run(|it| it.counts.missing = 1)]);
        assert_eq!(meaning(&comparison, Figure::Missing), Meaning::Worse);
        assert_eq!(comparison.text().lines().last(), Some("WORSE: missing"));
        assert!(comparison.markdown().starts_with("### WORSE: missing\n"));
    }

    #[test]
    fn each_target_is_compared_with_itself() {
        let named = |name: &str, per_s: f64| {
            run(|it| {
                it.environment.target = name.into();
                it.rates.delivered_per_s = per_s;
            })
        };
        let a = [named("reference", 30_000.0), named("node", 5_000.0), named("floor", 40_000.0)];
        let b = [named("node", 1_000.0), named("reference", 31_000.0)];
        let comparisons = compare_all(&a, &b);
        let found: Vec<_> = comparisons.each.iter().map(|(_, it)| meaning(it, Figure::Rate)).collect();
        assert_eq!(found, [Meaning::Noise, Meaning::Worse]);
        assert!(
            comparisons.is_worse() && comparisons.text().contains("only A holds unicast"),
            "{}",
            comparisons.text()
        );
        // Two files of one run each are compared although the targets differ.
        assert_eq!(compare_all(&a[..1], &b[..1]).each.len(), 1);
        assert!(compare_all(&a[2..], &b).is_worse(), "nothing to compare is no good news");
    }

    #[test]
    fn what_was_not_the_same_is_told() {
        let other = run(|it| {
            it.scenario.batch = 100;
            it.environment.cores = 64;
            it.verdict.passed = false;
        });
        let text = compare(&[sample::good()], &[other]).text();
        for told in ["the load differs", "the number of cores differs: 2 in A, 64 in B", "B holds a failed run"] {
            assert!(text.contains(told), "{told} in {text}");
        }
    }
}
