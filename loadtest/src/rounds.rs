//! Several targets measured back to back over several rounds: medians, and the ratio of one of them to each other, with spreads.

use std::fmt::Write as _;

use crate::{
    figure::{Figure, is_idle},
    results::{Results, Scenario},
    table::{Table, cell},
    units::{line, number_of, rate, ratio},
};

/// The figures that are set against each other. Counts of what must not happen are told as failures.
const FIGURES: [Figure; 8] = [
    Figure::Rate,
    Figure::AcceptedRate,
    Figure::P50,
    Figure::P99,
    Figure::CpuPer100k,
    Figure::RssPerConnection,
    Figure::IdleCpu,
    Figure::KernelPerConnection,
];

/// Median, least and greatest of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Of a figure over these runs; `None` where one of them has not measured it.
    pub fn of(runs: &[Results], figure: Figure) -> Option<Self> {
        Self::over(runs.iter().map(|run| figure.of(run)).collect::<Option<Vec<_>>>()?)
    }

    /// Of these values; `None` of none.
    pub fn over(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&least, &greatest) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, least, greatest })
    }

    /// From the least to the greatest, as a share of the median.
    pub fn relative(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.greatest - self.least) / self.median }
    }

    fn show(&self, show: impl Fn(f64) -> String) -> String {
        if self.least == self.greatest {
            return show(self.median);
        }
        format!("{} ({} … {})", show(self.median), show(self.least), show(self.greatest))
    }
}

/// The load of a run: what has to be the same for two runs to be rounds of one measurement.
pub fn key(results: &Results) -> String {
    let Scenario { name, connections, users, rate_per_s, emitters, batch, payload_bytes, .. } = &results.scenario;
    if is_idle(results) {
        return format!("{name}, {}", number_of(*connections, "connection"));
    }
    let pace = rate_per_s.map_or_else(
        || format!("closed loop, {}", number_of(*emitters, "emitter")),
        |per_s| format!("open loop at {}", rate(per_s)),
    );
    let users = if users == connections { String::new() } else { format!("{}, ", number_of(*users, "user")) };
    let batch = if *batch > 1 { format!("batches of {batch}, ") } else { String::new() };
    format!("{name}, {}, {users}{pace}, {batch}{payload_bytes} bytes", number_of(*connections, "connection"))
}

/// All rounds of one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Such as `unicast, 5,000 connections, …`.
    pub name: String,
    /// Each target with its rounds in the order in which they were measured.
    pub targets: Vec<(String, Vec<Results>)>,
}

/// The measurements of several loads, and the target that is set against the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounds {
    loads: Vec<Load>,
    subject: String,
}

/// Why runs cannot be set against each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// The subject was never measured.
    #[error("no run is of {subject:?}; there are runs of {found}")]
    NoSubject {
        /// What was to be set against the others.
        subject: String,
        /// The targets that there are.
        found: String,
    },
    /// A target has more rounds than another, so that they cannot be paired.
    #[error("{load}: {target} has {rounds} rounds, and {subject} has {subject_rounds}")]
    Uneven {
        /// The load.
        load: String,
        /// The target.
        target: String,
        /// Its rounds.
        rounds: usize,
        /// What it was to be set against.
        subject: String,
        /// Its rounds.
        subject_rounds: usize,
    },
}

impl Rounds {
    /// Sorts runs by load, target and date.
    ///
    /// # Errors
    /// Where the subject is not among the targets, or a target has other rounds than the subject has.
    pub fn new(mut runs: Vec<Results>, subject: &str) -> Result<Self, Unpaired> {
        runs.sort_by(|a, b| a.environment.date.cmp(&b.environment.date));
        let mut loads: Vec<Load> = Vec::new();
        for run in runs {
            let name = key(&run);
            let at = loads.iter().position(|load| load.name == name).unwrap_or_else(|| {
                loads.push(Load { name, targets: Vec::new() });
                loads.len() - 1
            });
            let targets = &mut loads[at].targets;
            match targets.iter_mut().find(|(target, _)| *target == run.environment.target) {
                Some((_, rounds)) => rounds.push(run),
                None => targets.push((run.environment.target.clone(), vec![run])),
            }
        }
        let found = |load: &Load| load.targets.iter().any(|(target, _)| target == subject);
        if !loads.iter().any(found) {
            let mut names: Vec<_> = loads.iter().flat_map(|load| load.targets.iter().map(|it| it.0.as_str())).collect();
            names.sort_unstable();
            names.dedup();
            return Err(Unpaired::NoSubject { subject: subject.to_owned(), found: names.join(", ") });
        }
        for load in &loads {
            let Some((_, own)) = load.targets.iter().find(|(target, _)| target == subject) else { continue };
            if let Some((target, rounds)) = load.targets.iter().find(|(_, rounds)| rounds.len() != own.len()) {
                return Err(Unpaired::Uneven {
                    load: load.name.clone(),
                    target: target.clone(),
                    rounds: rounds.len(),
                    subject: subject.to_owned(),
                    subject_rounds: own.len(),
                });
            }
        }
        Ok(Self { loads, subject: subject.to_owned() })
    }

    fn table(&self, load: &Load) -> Table {
        let against = format!("{} ÷ it", self.subject);
        let mut table =
            Table::new(["figure", "target", "median (least … greatest)", against.as_str()]).with_words_in(1);
        let own = load.targets.iter().find(|(target, _)| *target == self.subject).map(|(_, rounds)| rounds.as_slice());
        // A figure means little without what it was reached without; once in a table is enough.
        let mut named: Vec<&str> = Vec::new();
        let told = |figure: Figure| load.targets.iter().flat_map(|it| &it.1).any(|run| figure.tells_more(run));
        for figure in FIGURES {
            let mut words = figure.words();
            for (target, rounds) in &load.targets {
                let Some(spread) = Spread::of(rounds, figure).filter(|_| told(figure)) else { continue };
                let ratio = own
                    .filter(|_| *target != self.subject)
                    .and_then(|own| ratios(own, rounds, figure))
                    .map_or_else(|| "–".to_owned(), |spread| spread.show(ratio));
                let without = rounds.first().map(|run| run.environment.leaves_out.join(", ")).unwrap_or_default();
                let name = if without.is_empty() || named.contains(&target.as_str()) {
                    target.clone()
                } else {
                    named.push(target);
                    format!("{target}: {without}")
                };
                table.row([words.to_owned(), name, spread.show(|value| figure.show(value)), ratio]);
                words = "";
            }
        }
        table
    }

    /// What the medians hide: a failed run, a harness that was the bottleneck.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let rounds = |load: &Load| load.targets.iter().map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
        for load in &self.loads {
            for (target, runs) in &load.targets {
                let all = rounds(load);
                let mut tell = |number: usize, what: &str| {
                    if number > 0 {
                        remarks.push(format!("{}: {number} of {all} rounds of {target} {what}", load.name));
                    }
                };
                tell(runs.iter().filter(|run| !run.verdict.passed).count(), "failed");
                let limited = runs.iter().filter(|run| run.resources.client_was_bottleneck).count();
                tell(limited, "were limited by the harness: the ratio is at least that");
            }
        }
        remarks
    }

    /// Machine, date and number of rounds, in a line.
    fn head(&self) -> String {
        let runs = || self.loads.iter().flat_map(|load| load.targets.iter().flat_map(|(_, rounds)| rounds));
        let Some(first) = runs().next() else { return String::new() };
        let environment = &first.environment;
        let processor = environment.processor.as_deref().map(|it| format!(", {it}")).unwrap_or_default();
        let most =
            self.loads.iter().flat_map(|load| load.targets.iter().map(|(_, rounds)| rounds.len())).max().unwrap_or(0);
        let day = environment.date.split('T').next().unwrap_or_default();
        let commit = environment.commit.as_deref().map(|commit| format!(", commit {commit}")).unwrap_or_default();
        format!(
            "{day}, {}{processor}, {} cores{commit}; median of {most} rounds (least … greatest); ratios are medians of the ratios within a round",
            environment.machine, environment.cores
        )
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", line(&self.head()));
        for load in &self.loads {
            let _ = write!(text, "\n{}\n{}", line(&load.name), self.table(load).text());
        }
        for remark in self.remarks() {
            let _ = writeln!(text, "\n  note  {}", line(&remark));
        }
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}.\n", cell(&self.head()));
        for load in &self.loads {
            let _ = write!(text, "\n**{}**\n\n{}", cell(&load.name), self.table(load).markdown());
        }
        for remark in self.remarks() {
            let _ = writeln!(text, "\n> {}", cell(&remark));
        }
        text
    }
}

/// Of each round by itself, for what slows one down slows its neighbour down, too.
fn ratios(rounds: &[Results], others: &[Results], figure: Figure) -> Option<Spread> {
    let ratio = |(run, other): (&Results, &Results)| {
        let (value, other) = (figure.of(run)?, figure.of(other)?);
        (other != 0.0).then(|| value / other)
    };
    Spread::over(rounds.iter().zip(others).map(ratio).collect::<Option<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn run(target: &str, minute: u32, per_s: f64) -> Results {
        let mut results = sample::good();
        results.environment.target = target.into();
        results.environment.date = format!("2026-11-25T17:{minute:02}:00Z");
        results.rates.delivered_per_s = per_s;
        results
    }

    fn alternating() -> Vec<Results> {
        vec![
            run("node", 1, 5_000.0),
            run("reference", 0, 30_000.0),
            run("node", 2, 6_000.0),
            run("reference", 3, 42_000.0),
            run("node", 5, 4_000.0),
            run("reference", 4, 32_000.0),
        ]
    }

    #[test]
    fn the_ratio_is_that_of_neighbours_and_not_of_medians() {
        let text = Rounds::new(alternating(), "reference").expect("they pair").text();
        // 6, 7 and 8; the ratio of the medians would be 6.4.
        assert!(text.contains("7.00× (6.00× … 8.00×)"), "{text}");
        assert!(text.contains("32,000/s (30,000/s … 42,000/s)"), "{text}");
        assert!(text.starts_with("2026-11-25, linux x86_64, Some Processor 3000, 2 cores"), "{text}");
    }

    #[test]
    fn what_a_target_leaves_out_stands_beside_its_name_once() {
        let mut runs = alternating();
        for run in runs.iter_mut().filter(|run| run.environment.target == "node") {
            run.environment.leaves_out = vec!["no queue".into(), "no order".into()];
        }
        let text = Rounds::new(runs, "reference").expect("they pair").text();
        assert_eq!(text.matches("node: no queue, no order").count(), 1, "{text}");
    }

    #[test]
    fn loads_are_told_apart() {
        let mut runs = alternating();
        for run in alternating() {
            let mut batched = run;
            batched.scenario.batch = 100;
            runs.push(batched);
        }
        let markdown = Rounds::new(runs, "reference").expect("they pair").markdown();
        assert_eq!(markdown.matches("\n**unicast, 5,000 connections").count(), 2, "{markdown}");
        assert!(markdown.contains("batches of 100"), "{markdown}");
    }

    #[test]
    fn what_cannot_be_paired_is_named() {
        let error = Rounds::new(alternating(), "floor").expect_err("there is none").to_string();
        assert_eq!(error, "no run is of \"floor\"; there are runs of node, reference");
        let mut runs = alternating();
        runs.pop();
        let error = Rounds::new(runs, "node").expect_err("one is missing").to_string();
        assert!(error.contains("reference has 2 rounds, and node has 3"), "{error}");
    }

    #[test]
    fn a_failed_round_is_told() {
        let mut runs = alternating();
        runs[1].verdict.passed = false;
        runs[3].resources.client_was_bottleneck = true;
        let text = Rounds::new(runs, "reference").expect("they pair").text();
        assert!(text.contains("1 of 3 rounds of reference failed"), "{text}");
        assert!(text.contains("1 of 3 rounds of reference were limited by the harness"), "{text}");
    }

    #[test]
    fn a_median_is_the_middle() {
        for (values, median) in [(vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 3.0], 2.5)] {
            assert_eq!(Spread::over(values).map(|spread| spread.median), Some(median));
        }
        assert_eq!(Spread::over(Vec::new()), None);
        assert_eq!(Spread::over(vec![90.0, 100.0, 110.0]).map(|spread| spread.relative()), Some(0.2));
    }
}
