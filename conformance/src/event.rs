//! What a run tells its reporters: the only thing that the two sides share.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    case::Case,
    flake::Flakes,
    spec::{Level, Profile},
    transcript::Line,
};

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// A part of the ground takes its time: its name, and what it is doing.
    Busy(&'static str, String),
    /// A part of the ground is ready: its name, what it is, and how long it took.
    Ready(&'static str, String, Duration),
    /// A remark that a reader of the verdict must see.
    Remark(String),
    /// What is tested, and on what: known once everything is ready.
    Environment(Box<Environment>),
    /// So many cases will be run.
    Planned(usize),
    /// A case has ended.
    Finished(Box<CaseResult>),
    /// The run has ended.
    Ended(Box<Summary>),
    /// The run was given up without a verdict, and why.
    GivenUp(String),
}

/// What is tested, and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// The target's name.
    pub target: String,
    /// Where it answers.
    pub url: String,
    /// What it declares.
    pub capabilities: Vec<String>,
    /// The version of the run's Redis, where the target wants one.
    pub redis: Option<String>,
    /// `container`, `local` or `url`.
    pub redis_from: Option<String>,
    /// The seed of the random choices.
    pub seed: String,
    /// The system that the suite runs on.
    pub system: String,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The target does as required.
    Passed,
    /// It does not.
    Failed {
        /// What was required.
        expected: String,
        /// What was seen.
        actual: String,
    },
    /// It does not, and the baseline knows of it.
    KnownFailing {
        /// What was required.
        expected: String,
        /// What was seen.
        actual: String,
        /// What the baseline says.
        known: Known,
    },
    /// The sentence does not bind this target.
    NotApplicable {
        /// Why not.
        reason: String,
    },
    /// The suite could not find out.
    NotRun {
        /// Why not.
        reason: String,
    },
}

/// What a baseline says of a case that is known to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// Why it fails.
    pub reason: String,
    /// Who is to mend it.
    pub owner: String,
    /// The last day on which the entry holds, as `2026-12-31`.
    pub expires: String,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (owner {}, expires after {})", self.reason, self.owner, self.expires)
    }
}

/// A baseline entry that does not hold, and fails the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaleEntry {
    /// The case.
    pub id: String,
    /// Who is to mend it.
    pub owner: String,
    /// What is wrong with the entry.
    #[serde(flatten)]
    pub fault: EntryFault,
}

impl fmt::Display for StaleEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (owner {}): {}", self.id, self.owner, self.fault)
    }
}

/// Why a baseline entry does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum EntryFault {
    /// The case passes.
    Passes,
    /// The case passes in some repetitions.
    Flaky {
        /// In how many it passed.
        passed: usize,
        /// Of how many.
        runs: usize,
    },
    /// Its last day is over.
    Expired {
        /// That day.
        expires: String,
    },
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passes => f.write_str("the case passes: take the entry out"),
            Self::Flaky { passed, runs } => {
                write!(f, "the case passes in {passed} of {runs} runs: it is flaky, which a baseline does not excuse")
            }
            Self::Expired { expires } => {
                write!(f, "the entry expired after {expires}: mend the case or renew the entry")
            }
        }
    }
}

/// One case's end.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// The case.
    pub case: Case,
    /// Which repetition, from 1.
    pub turn: usize,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What it did and saw.
    pub transcript: Vec<Line>,
}

/// How many cases of a level ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Failed, and nothing excuses it.
    pub failed: usize,
    /// Failed as the baseline says.
    pub known_failing: usize,
    /// Not applicable.
    pub not_applicable: usize,
    /// Not run.
    pub not_run: usize,
}

impl Count {
    /// Failed, be it known or not.
    pub fn red(&self) -> usize {
        self.failed + self.known_failing
    }

    /// All that bind the target, which is what those that passed are counted against.
    pub fn bound(&self) -> usize {
        self.passed + self.red() + self.not_run
    }

    /// Counts one verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed { .. } => self.failed += 1,
            Verdict::KnownFailing { .. } => self.known_failing += 1,
            Verdict::NotApplicable { .. } => self.not_applicable += 1,
            Verdict::NotRun { .. } => self.not_run += 1,
        }
    }
}

/// The run's verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conformance {
    /// Everything that was run and applies has passed, and something was run.
    Conformant,
    /// The same, but for what the baseline knows to fail.
    ConformantButKnown,
    /// Something failed, or the baseline does not hold.
    NotConformant,
    /// Nothing failed, but not everything could be found out.
    #[default]
    Inconclusive,
}

impl Conformance {
    /// The verdict as every report words it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Conformant => "CONFORMANT",
            Self::ConformantButKnown => "CONFORMANT BUT FOR WHAT IS KNOWN",
            Self::NotConformant => "NOT CONFORMANT",
            Self::Inconclusive => "NO VERDICT",
        }
    }
}

/// The run's end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The cases about MUST sentences.
    pub must: Count,
    /// The cases about SHOULD sentences.
    pub should: Count,
    /// The profiles that the verdict is on.
    pub profiles: Vec<Profile>,
    /// Cases of these profiles that the selection left out.
    pub deselected: usize,
    /// The seed that repeats the run.
    pub seed: String,
    /// How often each case was run.
    pub repeat: usize,
    /// Cases that passed in one repetition and failed in another.
    pub flaky: Vec<String>,
    /// How often the cases failed; `None` where each was run once.
    pub flakes: Option<Flakes>,
    /// Baseline entries that do not hold.
    pub stale: Vec<StaleEntry>,
    /// How long the cases took altogether.
    #[serde(skip)]
    pub took: Duration,
    /// The verdict.
    pub conformance: Conformance,
}

impl Summary {
    /// The count of a level; MAY sentences have no cases.
    pub fn count_mut(&mut self, level: Level) -> &mut Count {
        match level {
            Level::Must => &mut self.must,
            Level::Should | Level::May => &mut self.should,
        }
    }

    /// Decides: what failed weighs more than what was not found out, and a run of nothing proves nothing.
    pub fn decide(&mut self) {
        let sum = |part: fn(&Count) -> usize| part(&self.must) + part(&self.should);
        self.conformance = if sum(|count| count.failed) > 0 || !self.stale.is_empty() {
            Conformance::NotConformant
        } else if sum(|count| count.not_run) > 0 || sum(|count| count.passed) == 0 {
            Conformance::Inconclusive
        } else if sum(|count| count.known_failing) > 0 {
            Conformance::ConformantButKnown
        } else {
            Conformance::Conformant
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(must: Count, should: Count) -> Conformance {
        let mut summary = Summary { must, should, ..Summary::default() };
        summary.decide();
        summary.conformance
    }

    const NONE: Count = Count { passed: 0, failed: 0, known_failing: 0, not_applicable: 0, not_run: 0 };

    #[test]
    fn nothing_run_is_never_conformant() {
        assert_eq!(decided(NONE, NONE), Conformance::Inconclusive);
        assert_eq!(decided(Count { not_applicable: 5, ..NONE }, NONE), Conformance::Inconclusive);
    }

    #[test]
    fn one_that_was_not_run_spoils_the_verdict() {
        assert_eq!(decided(Count { passed: 9, not_run: 1, ..NONE }, NONE), Conformance::Inconclusive);
    }

    #[test]
    fn a_failure_weighs_more_than_anything_else() {
        assert_eq!(
            decided(Count { passed: 9, not_run: 1, ..NONE }, Count { failed: 1, ..NONE }),
            Conformance::NotConformant
        );
    }

    #[test]
    fn all_that_applies_having_passed_is_conformant() {
        assert_eq!(decided(Count { passed: 1, not_applicable: 1, ..NONE }, NONE), Conformance::Conformant);
    }

    #[test]
    fn what_the_baseline_knows_is_no_failure_and_yet_told_apart() {
        let known = Count { passed: 9, known_failing: 1, ..NONE };
        assert_eq!(decided(known, NONE), Conformance::ConformantButKnown);
        assert_eq!(decided(known, Count { failed: 1, ..NONE }), Conformance::NotConformant);
        assert_eq!(decided(known, Count { not_run: 1, ..NONE }), Conformance::Inconclusive);
        assert_eq!(decided(Count { known_failing: 1, ..NONE }, NONE), Conformance::Inconclusive, "nothing has passed");
    }

    #[test]
    fn a_baseline_entry_that_does_not_hold_is_a_failure() {
        let stale = vec![StaleEntry { id: "A-01/x".into(), owner: "o".into(), fault: EntryFault::Passes }];
        let mut summary = Summary { must: Count { passed: 1, ..NONE }, stale, ..Summary::default() };
        summary.decide();
        assert_eq!(summary.conformance, Conformance::NotConformant);
    }
}
