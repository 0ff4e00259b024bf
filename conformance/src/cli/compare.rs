//! `compare` on the command line: what changed between two reports, for people.

use std::path::{Path, PathBuf};

use super::{no_verdict, usage};
use crate::{
    compare::{
        self, Change, Comparison, Difference, FlakeChange, Side, Timing,
        read::{Finding, Report, State},
    },
    exit,
    text::shorten,
};

/// The longest text of a finding, in bytes; all of it is in the reports.
const WIDTH: usize = 400;

/// Compares two reports; returns the exit code.
pub(super) fn tell(a: &Path, b: &Path, report: Option<&PathBuf>) -> u8 {
    // Both errors at once, where both are wrong.
    let (a, b) = match (Report::read(a), Report::read(b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(a), Err(b)) => return usage(&format!("{a}\nerror: {b}")),
        (Err(error), _) | (_, Err(error)) => return usage(&error),
    };
    let comparison = match compare::compare(&a, &b) {
        Ok(comparison) => comparison,
        Err(why) => return usage(&why),
    };
    if let Some(path) = report {
        let written = serde_json::to_string_pretty(&comparison).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|text| std::fs::write(path, text + "\n")) {
            return no_verdict(&format!("a report could not be written: {}: {error}", path.display()));
        }
    }
    show(&comparison);
    if comparison.worse { exit::NOT_CONFORMANT } else { exit::CONFORMANT }
}

fn show(comparison: &Comparison) {
    let Comparison { a, b, .. } = comparison;
    for (name, Side { target, suite, conformance, cases }) in [("A", a), ("B", b)] {
        println!("  {name}         {target}: {cases} cases, {}, by suite {suite}", conformance.words());
    }
    if a.target != b.target {
        println!("  note      the reports are on two targets");
    }
    if a.suite != b.suite {
        println!("  note      the reports are by two versions of the suite, whose cases may differ");
    }
    for change in Change::ALL {
        comparison.changes.iter().filter(|it| it.change == change).for_each(show_difference);
    }
    comparison.still_failing.iter().for_each(|id| println!("  still failing {id}"));
    comparison.flakes.iter().for_each(show_flake);
    comparison.timing.iter().for_each(show_timing);
    if comparison.worse && !comparison.changes.iter().any(|difference| difference.worse) {
        println!("  worse     no case, but the verdict: {} → {}", a.conformance.words(), b.conformance.words());
    }
    let counts = comparison.counts.iter().map(|(change, count)| format!("{} {count}", change.words()));
    println!(
        "  {} · unchanged {} · timing {}   → {}",
        counts.collect::<Vec<_>>().join(" · "),
        comparison.unchanged,
        comparison.timing.len(),
        if comparison.worse { "WORSE" } else { "NOT WORSE" }
    );
}

fn show_difference(it: &Difference) {
    let state = |state: Option<State>| state.map_or("not there", State::words);
    println!(
        "  {:<13} {}  {}  {}\n        {} → {}{}",
        it.change.words(),
        it.id,
        it.level,
        it.title,
        state(it.was),
        state(it.is),
        if it.worse { ": worse" } else { "" }
    );
    it.found.iter().for_each(|finding| show_finding("A", finding));
    it.finds.iter().for_each(|finding| show_finding("B", finding));
}

fn show_finding(side: &str, finding: &Finding) {
    match finding {
        Finding::Mismatch { expected, actual } => {
            println!("        {side} expected  {}", shorten(expected, WIDTH));
            println!("        {side} actual    {}", shorten(actual, WIDTH));
        }
        Finding::Reason { reason } => println!("        {side} because   {}", shorten(reason, WIDTH)),
    }
}

/// No verdict either: a few repetitions cannot tell one rate from another.
fn show_flake(FlakeChange { id, was, is }: &FlakeChange) {
    println!("  flake rate    {id}  {} of {} → {} of {}", was.failed, was.runs, is.failed, is.runs);
}

/// Worth a look, and never a verdict: the machine may have been busy.
fn show_timing(Timing { id, was_us, is_us }: &Timing) {
    let word = if is_us > was_us { "slower" } else { "faster" };
    let seconds = |us: &u64| *us as f64 / 1e6;
    let ratio = seconds(is_us) / seconds(was_us).max(1e-6);
    println!("  {word:<13} {id}  {:.1} s → {:.1} s (×{ratio:.1})", seconds(was_us), seconds(is_us));
}
