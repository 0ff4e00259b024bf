//! `compare`: what has changed from one JSON report to another, and whether anything got worse. Prints nothing.

pub mod read;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::read::{CaseEnd, Finding, Report, State};
use crate::event::Conformance;

/// A case that passed both times is worth a look where it takes so many times as long as it did…
const FACTOR: u64 = 2;
/// …and so much longer, in microseconds: cases run beside each other, and short ones vary by more than their own length.
const NOTICEABLE_US: u64 = 500_000;
/// The shortest word that can be an id or a time.
const ID_LENGTH: usize = 8;

/// The version of the form as JSON.
const FORMAT: u32 = 1;

/// Two reports side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The version of this form.
    pub format: u32,
    /// The earlier one.
    pub a: Side,
    /// The later one.
    pub b: Side,
    /// The cases that changed, in the order of their ids.
    pub changes: Vec<Difference>,
    /// Cases that passed both times and took noticeably more or less time.
    pub timing: Vec<Timing>,
    /// Cases that fail both times, be it sometimes or known.
    pub still_failing: Vec<String>,
    /// Cases that fail in another share of their repetitions than they did, at least one of the two times not in all or none.
    pub flakes: Vec<FlakeChange>,
    /// How many cases changed in which way.
    pub counts: BTreeMap<Change, usize>,
    /// Cases that are as they were.
    pub unchanged: usize,
    /// Whether a case, or the verdict, got worse.
    pub worse: bool,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The target's name.
    pub target: String,
    /// The version of the suite.
    pub suite: String,
    /// The verdict.
    pub conformance: Conformance,
    /// How many cases.
    pub cases: usize,
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It fails, or flakes, and did not before as far as is known.
    NewlyFailing,
    /// It had a result and has none.
    NoLongerRun,
    /// It is not in the later report.
    Gone,
    /// It passes, and did not before.
    NewlyPassing,
    /// Its failure has come into the baseline.
    NewlyKnown,
    /// It is not in the earlier report, and does not fail.
    New,
    /// It ended the same way, but not for the same reasons.
    Otherwise,
}

impl Change {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::NewlyFailing,
        Self::NoLongerRun,
        Self::Gone,
        Self::NewlyPassing,
        Self::NewlyKnown,
        Self::New,
        Self::Otherwise,
    ];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::NewlyFailing => "newly failing",
            Self::NoLongerRun => "no longer run",
            Self::Gone => "gone",
            Self::NewlyPassing => "newly passing",
            Self::NewlyKnown => "newly known",
            Self::New => "new",
            Self::Otherwise => "changed",
        }
    }
}

/// A case that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The case.
    pub id: String,
    /// What it checks.
    pub title: String,
    /// How binding its sentence is.
    pub level: String,
    /// What became of it.
    pub change: Change,
    /// Whether that is for the worse.
    pub worse: bool,
    /// How it ended earlier; `None` where it was not there.
    pub was: Option<State>,
    /// How it ends later.
    pub is: Option<State>,
    /// What was found earlier, beside a pass.
    pub found: Vec<Finding>,
    /// What is found later.
    pub finds: Vec<Finding>,
}

/// A case that takes another time than it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// The case.
    pub id: String,
    /// Earlier: the median of its repetitions, in microseconds.
    pub was_us: u64,
    /// Later.
    pub is_us: u64,
}

/// A case that flakes otherwise than it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlakeChange {
    /// The case.
    pub id: String,
    /// Earlier.
    pub was: Failures,
    /// Later.
    pub is: Failures,
}

/// How often a case failed, of how many repetitions with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// So many failed.
    pub failed: usize,
    /// Of so many.
    pub runs: usize,
}

/// Holds `b` against `a`.
///
/// # Errors
/// Where they have no case in common, so that nothing would be compared.
pub fn compare(a: &Report, b: &Report) -> Result<Comparison, String> {
    let ids: BTreeSet<_> = a.cases.keys().chain(b.cases.keys()).collect();
    if !a.cases.keys().any(|id| b.cases.contains_key(id)) {
        return Err("the two reports have no case in common: there is nothing to compare".to_owned());
    }
    let changes: Vec<_> = ids.iter().filter_map(|id| difference(id, a.cases.get(*id), b.cases.get(*id))).collect();
    let mut counts: BTreeMap<_, _> = Change::ALL.into_iter().map(|change| (change, 0)).collect();
    for difference in &changes {
        *counts.entry(difference.change).or_default() += 1;
    }
    let in_both = |id: &&String| Some((a.cases.get(*id)?, b.cases.get(*id)?));
    let both = || ids.iter().filter_map(|id| in_both(id).map(|(was, is)| (id.as_str(), was, is)));
    let still_failing = both().filter(|(_, was, is)| was.state.fails() && is.state.fails());
    // A baseline entry that does not hold spoils the verdict and changes no case.
    let fell = holds(a) && !holds(b);
    Ok(Comparison {
        format: FORMAT,
        a: side(a),
        b: side(b),
        worse: fell || changes.iter().any(|difference| difference.worse),
        unchanged: ids.len() - changes.len(),
        timing: both().filter_map(|(id, was, is)| timing(id, was, is)).collect(),
        still_failing: still_failing.map(|(id, ..)| id.to_owned()).collect(),
        flakes: both().filter_map(|(id, was, is)| flake(id, was, is)).collect(),
        changes,
        counts,
    })
}

fn side(report: &Report) -> Side {
    Side {
        target: report.target.clone(),
        suite: report.suite.clone(),
        conformance: report.conformance,
        cases: report.cases.len(),
    }
}

fn holds(report: &Report) -> bool {
    matches!(report.conformance, Conformance::Conformant | Conformance::ConformantButKnown)
}

fn difference(id: &str, a: Option<&CaseEnd>, b: Option<&CaseEnd>) -> Option<Difference> {
    let named = b.or(a)?;
    let (was, is) = (a.map(|case| case.state), b.map(|case| case.state));
    let findings = |case: Option<&CaseEnd>| case.map(|case| case.findings.clone()).unwrap_or_default();
    let (found, finds) = (findings(a), findings(b));
    let change =
        if was == is { (plain(&found) != plain(&finds)).then_some(Change::Otherwise)? } else { change(was, is) };
    let worse = match change {
        Change::NewlyFailing | Change::NoLongerRun => true,
        Change::Gone => was.is_some_and(State::was_run),
        Change::NewlyPassing | Change::NewlyKnown | Change::New | Change::Otherwise => false,
    };
    let (title, level) = (named.title.clone(), named.level.clone());
    Some(Difference { id: id.to_owned(), title, level, change, worse, was, is, found, finds })
}

/// Between two states that are not the same.
fn change(was: Option<State>, is: Option<State>) -> Change {
    use State::{Failed, Flaky, KnownFailing, Passed};
    match (was, is) {
        (_, None) => Change::Gone,
        // Better, if anything, and a failure still.
        (Some(Failed), Some(Flaky)) => Change::Otherwise,
        (_, Some(Failed | Flaky)) | (Some(Passed), Some(KnownFailing)) => Change::NewlyFailing,
        (None, Some(_)) => Change::New,
        (_, Some(KnownFailing)) => Change::NewlyKnown,
        (_, Some(Passed)) => Change::NewlyPassing,
        (Some(was), Some(_)) if was.was_run() => Change::NoLongerRun,
        (Some(_), Some(_)) => Change::Otherwise,
    }
}

fn timing(id: &str, a: &CaseEnd, b: &CaseEnd) -> Option<Timing> {
    let (short, long) = (a.took_us.min(b.took_us), a.took_us.max(b.took_us));
    let both_passed = a.state == State::Passed && b.state == State::Passed;
    let noticeable = long >= short.saturating_mul(FACTOR) && long - short >= NOTICEABLE_US;
    (both_passed && noticeable).then(|| Timing { id: id.to_owned(), was_us: a.took_us, is_us: b.took_us })
}

fn flake(id: &str, a: &CaseEnd, b: &CaseEnd) -> Option<FlakeChange> {
    let flaky = a.state == State::Flaky || b.state == State::Flaky;
    let other_rate = a.failed * b.runs != b.failed * a.runs;
    let failures = |case: &CaseEnd| Failures { failed: case.failed, runs: case.runs };
    (flaky && other_rate && a.runs > 0 && b.runs > 0).then(|| FlakeChange {
        id: id.to_owned(),
        was: failures(a),
        is: failures(b),
    })
}

/// The findings without what is new in each run.
fn plain(findings: &[Finding]) -> BTreeSet<Vec<String>> {
    let words = |finding: &Finding| match finding {
        Finding::Mismatch { expected, actual } => vec![masked(expected), masked(actual)],
        Finding::Reason { reason } => vec![masked(reason)],
    };
    findings.iter().map(words).collect()
}

/// Without its longer words that have a digit: ids, ports in addresses and times are others in each run.
fn masked(text: &str) -> String {
    let in_word = |letter: char| letter.is_alphanumeric() || "-_:.".contains(letter);
    let mut masked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside = in_word(first);
        let end = rest.find(|letter| in_word(letter) != inside).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let an_id =
            inside && word.chars().count() >= ID_LENGTH && word.contains(|letter: char| letter.is_ascii_digit());
        masked.push_str(if an_id { "…" } else { word });
        rest = after;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::{
        Conformance::{Conformant, ConformantButKnown, Inconclusive, NotConformant},
        State::{Failed, Flaky, KnownFailing, NotApplicable, NotRun, Passed},
        *,
    };

    fn end(state: State, actual: &str, took_ms: u64) -> CaseEnd {
        let findings = match state {
            Passed => vec![],
            _ => vec![Finding::Mismatch { expected: "1".into(), actual: actual.into() }],
        };
        CaseEnd {
            title: "t".into(),
            level: "MUST".into(),
            state,
            findings,
            failed: 0,
            runs: 1,
            took_us: took_ms * 1_000,
        }
    }

    /// Besides the case in question there is one that never changes.
    fn report(case: Option<CaseEnd>, conformance: Conformance) -> Report {
        let mut cases = BTreeMap::from([("Z-01/always".to_owned(), end(Passed, "", 1))]);
        cases.extend(case.map(|case| ("A-01/x".to_owned(), case)));
        Report { target: "t".into(), suite: "0".into(), conformance, cases }
    }

    fn compared(was: Option<CaseEnd>, is: Option<CaseEnd>) -> Comparison {
        compare(&report(was, Inconclusive), &report(is, Inconclusive)).expect("they have a case in common")
    }

    fn by_state(was: Option<State>, is: Option<State>) -> (Option<Change>, bool) {
        let case = |state: Option<State>| state.map(|state| end(state, "2", 1));
        let comparison = compared(case(was), case(is));
        (comparison.changes.first().map(|difference| difference.change), comparison.worse)
    }

    #[test]
    fn what_fails_is_not_run_or_is_gone_and_was_not_is_worse() {
        for (was, is, change) in [
            (Some(Passed), Some(Failed), Change::NewlyFailing),
            (Some(Passed), Some(Flaky), Change::NewlyFailing),
            (Some(Passed), Some(KnownFailing), Change::NewlyFailing),
            (Some(Flaky), Some(Failed), Change::NewlyFailing),
            (Some(KnownFailing), Some(Failed), Change::NewlyFailing),
            (Some(KnownFailing), Some(Flaky), Change::NewlyFailing),
            (Some(NotApplicable), Some(Failed), Change::NewlyFailing),
            (Some(NotRun), Some(Failed), Change::NewlyFailing),
            (None, Some(Failed), Change::NewlyFailing),
            (Some(Passed), Some(NotRun), Change::NoLongerRun),
            (Some(Passed), Some(NotApplicable), Change::NoLongerRun),
            (Some(Failed), Some(NotApplicable), Change::NoLongerRun),
            (Some(Passed), None, Change::Gone),
            (Some(Failed), None, Change::Gone),
        ] {
            assert_eq!(by_state(was, is), (Some(change), true), "{was:?} → {is:?}");
        }
    }

    #[test]
    fn everything_else_is_no_worse() {
        for (was, is, change) in [
            (Some(Passed), Some(Passed), None),
            (Some(Failed), Some(Failed), None),
            (Some(Failed), Some(Passed), Some(Change::NewlyPassing)),
            (Some(Flaky), Some(Passed), Some(Change::NewlyPassing)),
            (Some(KnownFailing), Some(Passed), Some(Change::NewlyPassing)),
            (Some(NotRun), Some(Passed), Some(Change::NewlyPassing)),
            (Some(Failed), Some(KnownFailing), Some(Change::NewlyKnown)),
            (Some(Failed), Some(Flaky), Some(Change::Otherwise)),
            (Some(NotRun), Some(NotApplicable), Some(Change::Otherwise)),
            (Some(NotApplicable), None, Some(Change::Gone)),
            (None, Some(Passed), Some(Change::New)),
            (None, Some(KnownFailing), Some(Change::New)),
        ] {
            assert_eq!(by_state(was, is), (change, false), "{was:?} → {is:?}");
        }
    }

    #[test]
    fn a_verdict_that_falls_is_worse_though_no_case_changed() {
        let worse = |a, b| compare(&report(None, a), &report(None, b)).expect("they compare").worse;
        assert!(worse(Conformant, NotConformant));
        assert!(worse(ConformantButKnown, Inconclusive));
        assert!(!worse(Conformant, ConformantButKnown));
        assert!(!worse(NotConformant, NotConformant));
    }

    #[test]
    fn a_failure_that_looks_otherwise_is_told_unless_only_ids_and_times_differ() {
        let change = |was: &str, is: &str| {
            let comparison = compared(Some(end(Failed, was, 1)), Some(end(Failed, is, 1)));
            assert!(!comparison.worse);
            comparison.changes.first().map(|difference| difference.change)
        };
        assert_eq!(change("51 events", "49 events"), Some(Change::Otherwise));
        assert_eq!(
            change("user u-1f00aa42 at 2026-11-01T10:00:00.000Z", "user u-77c0ff1e at 2026-11-02T11:00:00.000Z"),
            None
        );
    }

    #[test]
    fn only_noticeable_changes_of_time_are_told() {
        let told = |was, is| !compared(Some(end(Passed, "", was)), Some(end(Passed, "", is))).timing.is_empty();
        assert!(told(600, 1_200) && told(1_200, 600));
        assert!(!told(10, 400), "short");
        assert!(!told(5_000, 6_000), "not twice as long");
    }

    #[test]
    fn what_fails_both_times_is_listed_and_no_worse() {
        for (was, is) in [(Failed, Failed), (Failed, Flaky), (KnownFailing, KnownFailing)] {
            let comparison = compared(Some(end(was, "2", 1)), Some(end(is, "2", 1)));
            assert_eq!((comparison.still_failing.as_slice(), comparison.worse), (&["A-01/x".to_owned()][..], false));
        }
        assert!(compared(Some(end(Failed, "2", 1)), Some(end(Passed, "", 1))).still_failing.is_empty());
    }

    #[test]
    fn another_flake_rate_is_told_and_is_no_verdict() {
        let flaky = |failed, runs| Some(CaseEnd { failed, runs, ..end(Flaky, "2", 1) });
        let comparison = compared(flaky(1, 10), flaky(3, 20));
        let told = Failures { failed: 3, runs: 20 };
        assert_eq!(comparison.flakes.iter().map(|flake| flake.is).collect::<Vec<_>>(), [told]);
        assert!(!comparison.worse, "so few repetitions cannot tell");
        assert!(compared(flaky(1, 10), flaky(2, 20)).flakes.is_empty(), "the same rate");
    }

    #[test]
    fn reports_without_a_common_case_are_not_compared() {
        let nothing = Report { cases: BTreeMap::new(), ..report(None, Conformant) };
        assert!(compare(&nothing, &report(None, Conformant)).is_err());
        assert!(compare(&nothing, &nothing).is_err());
    }
}
