//! Reads a JSON report of `run` back, as far as a comparison needs it. New members of the form do not disturb it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{event::Conformance, report::json::FORMAT};

/// A report, by case.
#[derive(Debug, Clone)]
pub struct Report {
    /// The target's name.
    pub target: String,
    /// The version of the suite that wrote it.
    pub suite: String,
    /// The run's verdict.
    pub conformance: Conformance,
    /// Each case by its id.
    pub cases: BTreeMap<String, CaseEnd>,
}

/// How a case ended, all its repetitions taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseEnd {
    /// What it checks.
    pub title: String,
    /// How binding its sentence is.
    pub level: String,
    /// Its state.
    pub state: State,
    /// What was expected and what was seen instead, or why it was not run: each once.
    pub findings: Vec<Finding>,
    /// How often it failed, known failures included.
    pub failed: usize,
    /// Of how many repetitions with a result.
    pub runs: usize,
    /// How long it took: the median, in microseconds.
    pub took_us: u64,
}

/// What all repetitions of a case come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Each passed.
    Passed,
    /// Each that had a result failed.
    Failed,
    /// Some passed, some failed.
    Flaky,
    /// Each failed as the baseline says.
    KnownFailing,
    /// It does not bind the target.
    NotApplicable,
    /// It could not be run.
    NotRun,
}

/// What one repetition found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Finding {
    /// A failure.
    Mismatch {
        /// What was required.
        expected: String,
        /// What was seen.
        actual: String,
    },
    /// Why there is no result.
    Reason {
        /// The words of the report.
        reason: String,
    },
}

/// Why a report cannot be compared.
#[derive(Debug, Error)]
#[error("{path}: {why}")]
pub struct ReadError {
    /// The file.
    path: PathBuf,
    /// What is wrong with it.
    why: String,
}

impl Report {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, is no report of this form, or is one of a run that did not come to its end.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text)).map_err(|why| ReadError { path: path.to_owned(), why })
    }

    /// Reads the text of a report.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        match document.get("format") {
            None => return Err("is no report of `run`: it has no member \"format\"".to_owned()),
            Some(form) if *form != FORMAT => {
                return Err(format!("has the form {form}; this version of the suite reads the form {FORMAT}"));
            }
            Some(_) => {}
        }
        // From the text once more, for errors with line and column.
        let written: Written = serde_json::from_str(text).map_err(|error| format!("is not by its schema: {error}"))?;
        if written.suite.name != env!("CARGO_PKG_NAME") {
            return Err(format!(
                "is a report of the suite {:?}, not of {}",
                written.suite.name,
                env!("CARGO_PKG_NAME")
            ));
        }
        let Some(summary) = written.summary else {
            return Err(
                "is of a run that was given up: it has no summary, and nothing can be said of the rest".to_owned()
            );
        };
        let mut turns: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
        for turn in written.cases {
            turns.entry(turn.id.clone()).or_default().push(turn);
        }
        let cases = turns.into_iter().filter_map(|(id, turns)| Some((id, CaseEnd::of(&turns)?))).collect();
        Ok(Self { target: written.target, suite: written.suite.version, conformance: summary.conformance, cases })
    }
}

impl CaseEnd {
    fn of(turns: &[Turn]) -> Option<Self> {
        let first = turns.first()?;
        let mut findings = Vec::new();
        for finding in turns.iter().filter_map(|turn| turn.result.finding()) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        let mut took: Vec<_> = turns.iter().map(|turn| turn.took_us).collect();
        took.sort_unstable();
        Some(Self {
            title: first.title.clone(),
            level: first.level.clone(),
            state: State::of(turns),
            findings,
            failed: turns.iter().filter(|turn| turn.result.failed()).count(),
            runs: turns.iter().filter(|turn| turn.result.failed() || matches!(turn.result, Ended::Passed)).count(),
            took_us: took[took.len() / 2],
        })
    }
}

impl State {
    fn of(turns: &[Turn]) -> Self {
        let any = |wanted: fn(&Ended) -> bool| turns.iter().any(|turn| wanted(&turn.result));
        let failed = any(|end| matches!(end, Ended::Failed { .. }));
        let known = any(|end| matches!(end, Ended::KnownFailing { .. }));
        let passed = any(|end| matches!(end, Ended::Passed));
        if (failed || known) && passed {
            Self::Flaky
        } else if failed {
            Self::Failed
        } else if known {
            Self::KnownFailing
        } else if any(|end| matches!(end, Ended::NotRun { .. })) {
            Self::NotRun
        } else if passed {
            Self::Passed
        } else {
            Self::NotApplicable
        }
    }

    /// Whether it failed, if only sometimes, or as the baseline says.
    pub fn fails(self) -> bool {
        matches!(self, Self::Failed | Self::Flaky | Self::KnownFailing)
    }

    /// Whether there was a result.
    pub fn was_run(self) -> bool {
        !matches!(self, Self::NotApplicable | Self::NotRun)
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Flaky => "flaky",
            Self::KnownFailing => "known failing",
            Self::NotApplicable => "not applicable",
            Self::NotRun => "not run",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Written {
    suite: Suite,
    target: String,
    cases: Vec<Turn>,
    summary: Option<Summary>,
}

#[derive(Debug, Deserialize)]
struct Suite {
    name: String,
    version: String,
}

#[derive(Debug, Deserialize)]
struct Summary {
    conformance: Conformance,
}

#[derive(Debug, Deserialize)]
struct Turn {
    id: String,
    title: String,
    level: String,
    took_us: u64,
    result: Ended,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Ended {
    Passed,
    Failed { expected: String, actual: String },
    KnownFailing { expected: String, actual: String },
    NotApplicable { reason: String },
    NotRun { reason: String },
}

impl Ended {
    fn failed(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::KnownFailing { .. })
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Passed => None,
            Self::Failed { expected, actual } | Self::KnownFailing { expected, actual } => {
                Some(Finding::Mismatch { expected: expected.clone(), actual: actual.clone() })
            }
            Self::NotApplicable { reason } | Self::NotRun { reason } => {
                Some(Finding::Reason { reason: reason.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(results: &[Value]) -> Value {
        let case = |(turn, result): (usize, &Value)| json!({"id": "A-01/x", "title": "t", "level": "MUST", "turn": turn + 1, "took_us": turn, "result": result});
        json!({"format": 1, "suite": {"name": "notify-conformance", "version": "0"}, "target": "t", "cases": results.iter().enumerate().map(case).collect::<Vec<_>>(),
            "summary": {"conformance": "conformant"}, "a member of tomorrow": 1})
    }

    fn refused(document: &Value) -> String {
        Report::parse(&document.to_string()).expect_err("it is wrong")
    }

    #[test]
    fn repetitions_come_to_one_state() {
        let passed = json!({"verdict": "passed"});
        let failed = json!({"verdict": "failed", "expected": "1", "actual": "2"});
        let known = json!({"verdict": "known_failing", "expected": "1", "actual": "2", "known": {}});
        let not_run = json!({"verdict": "not_run", "reason": "r"});
        let not_applicable = json!({"verdict": "not_applicable", "reason": "r"});
        for (results, state) in [
            (vec![&passed, &passed], State::Passed),
            (vec![&passed, &failed], State::Flaky),
            (vec![&passed, &known], State::Flaky),
            (vec![&failed, &known], State::Failed),
            (vec![&failed, &not_run], State::Failed),
            (vec![&known, &not_run], State::KnownFailing),
            (vec![&passed, &not_run], State::NotRun),
            (vec![&not_applicable], State::NotApplicable),
        ] {
            let results: Vec<_> = results.into_iter().cloned().collect();
            let read = Report::parse(&report(&results).to_string()).expect("it is a report");
            assert_eq!(read.cases["A-01/x"].state, state, "{results:?}");
        }
    }

    #[test]
    fn what_is_no_report_is_named() {
        assert!(Report::parse("{").expect_err("it is wrong").contains("is not JSON: EOF"));
        assert!(refused(&json!({"fates": []})).contains("no member \"format\""));
        let mut other = report(&[]);
        other["format"] = 2.into();
        assert!(refused(&other).contains("has the form 2; this version of the suite reads the form 1"));
        let strange = refused(&report(&[json!({"verdict": "perhaps"})]));
        assert!(
            strange.contains("is not by its schema: unknown variant `perhaps`") && strange.contains("line"),
            "{strange}"
        );
        let lacking = refused(&report(&[json!({"verdict": "failed", "expected": "1"})]));
        assert!(lacking.contains("missing field `actual`"), "{lacking}");
    }

    #[test]
    fn a_run_that_was_given_up_is_refused() {
        let mut given_up = report(&[]);
        given_up["summary"] = Value::Null;
        assert!(refused(&given_up).contains("was given up"));
    }
}
