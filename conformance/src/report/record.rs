//! All that a run has told, put in order for the reports that are written at its end. Knows nothing of their forms.

use std::{collections::BTreeMap, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    case::Case,
    event::{CaseResult, Conformance, Count, Environment, RunEvent, StaleEntry, Summary, Verdict},
    flake::{Flakes, Rate},
    spec::{self, Level},
};

/// A run, as far as it came.
#[derive(Debug)]
pub struct Record {
    /// When it began.
    pub began: OffsetDateTime,
    /// What is tested, and on what; target and seed are known from the beginning.
    pub environment: Environment,
    /// Each part of the ground: its name, what it is, how long it took.
    pub ground: Vec<(&'static str, String, Duration)>,
    /// What a reader of the verdict must know.
    pub remarks: Vec<String>,
    /// Every case's end.
    pub results: Vec<CaseResult>,
    /// The run's end, where it came to one.
    pub summary: Option<Summary>,
    /// Why it came to none.
    pub given_up: Option<String>,
}

/// How a case ended, without the details; the most serious last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The target does as required.
    Passed,
    /// The sentence does not bind it.
    NotApplicable,
    /// It does not do as required, and the baseline knows of it.
    KnownFailing,
    /// The suite could not find out.
    NotRun,
    /// The target does not do as required.
    Failed,
}

/// Every turn of one case.
#[derive(Debug)]
pub struct Tried<'a> {
    /// The case.
    pub case: &'a Case,
    /// Its turns, in order; at least one.
    pub turns: Vec<&'a CaseResult>,
}

/// The cases of one section of SPEC.md.
#[derive(Debug)]
pub struct Area<'a> {
    /// Its name, such as `QUEUE`.
    pub name: &'a str,
    /// The section's heading, such as `5 Offline queue`.
    pub section: &'a str,
    /// Its cases, in the order of their ids.
    pub tried: Vec<Tried<'a>>,
}

impl Record {
    /// The record of a run on `target` that begins now.
    pub fn new(target: &str, seed: u64) -> Self {
        let environment =
            Environment { target: target.to_owned(), seed: format!("{seed:x}"), ..Environment::default() };
        Self {
            began: OffsetDateTime::now_utc(),
            environment,
            ground: Vec::new(),
            remarks: Vec::new(),
            results: Vec::new(),
            summary: None,
            given_up: None,
        }
    }

    /// Takes one event in.
    pub fn show(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Ready(part, what, took) => self.ground.push((part, what.clone(), *took)),
            RunEvent::Remark(remark) => self.remarks.push(remark.clone()),
            RunEvent::Environment(environment) => self.environment = (**environment).clone(),
            RunEvent::Planned(_) | RunEvent::Busy(..) => {}
            RunEvent::Finished(result) => self.results.push((**result).clone()),
            RunEvent::Ended(summary) => self.summary = Some((**summary).clone()),
            RunEvent::GivenUp(why) => self.given_up = Some(why.clone()),
        }
    }

    /// The verdict.
    pub fn conformance(&self) -> Conformance {
        match (&self.summary, &self.given_up) {
            (Some(summary), None) => summary.conformance,
            _ => Conformance::Inconclusive,
        }
    }

    /// The verdict's reason, in one sentence.
    pub fn reason(&self) -> String {
        if let Some(why) = &self.given_up {
            return format!("The run was given up: {why}");
        }
        let Some(summary) = &self.summary else { return "The run did not come to its end.".to_owned() };
        let [must, should] = [summary.must, summary.should];
        let all = |part: fn(&Count) -> usize| part(&must) + part(&should);
        let (passed, known, not_run) =
            (all(|count| count.passed), all(|count| count.known_failing), all(|count| count.not_run));
        match summary.conformance {
            Conformance::Conformant => format!("Everything that applies was run and has passed: {}.", checks(passed)),
            Conformance::ConformantButKnown => format!(
                "Everything that applies was run; {} passed, and {} failed as the baseline says.",
                checks(passed),
                checks(known)
            ),
            Conformance::NotConformant => {
                let mut parts = Vec::new();
                let failed = all(|count| count.failed);
                if failed > 0 {
                    let levels = [(must.failed, "MUST"), (should.failed, "SHOULD")];
                    let levels: Vec<_> =
                        levels.iter().filter(|(n, _)| *n > 0).map(|(n, of)| format!("{n} {of}")).collect();
                    parts.push(format!(
                        "{failed} of {} failed: {}.",
                        checks(passed + failed + known),
                        levels.join(" and ")
                    ));
                }
                if !summary.stale.is_empty() {
                    let ids: Vec<_> = summary.stale.iter().map(|entry| entry.id.as_str()).collect();
                    parts.push(match ids.as_slice() {
                        [id] => format!("A baseline entry does not hold: {id}."),
                        ids => format!("{} baseline entries do not hold: {}.", ids.len(), ids.join(", ")),
                    });
                }
                if known > 0 {
                    parts.push(format!("Another {} failed as the baseline says.", checks(known)));
                }
                if not_run > 0 {
                    parts.push(format!("Another {} could not be run.", checks(not_run)));
                }
                parts.join(" ")
            }
            Conformance::Inconclusive if not_run > 0 && known == 0 => {
                format!("Nothing failed, but {} could not be run.", checks(not_run))
            }
            Conformance::Inconclusive if not_run > 0 => {
                format!(
                    "Nothing failed but what the baseline knows ({}), yet {} could not be run.",
                    checks(known),
                    checks(not_run)
                )
            }
            Conformance::Inconclusive if known > 0 => {
                format!("Nothing passed: {} failed as the baseline says, which alone proves nothing.", checks(known))
            }
            Conformance::Inconclusive => "Nothing that was chosen applies to this target.".to_owned(),
        }
    }

    /// The baseline entries that do not hold.
    pub fn stale(&self) -> &[StaleEntry] {
        self.summary.as_ref().map_or(&[], |summary| &summary.stale)
    }

    /// The cases that both passed and failed, each with its rate.
    pub fn flaky(&self) -> impl Iterator<Item = (&str, &Rate)> {
        let flakes = self.summary.as_ref().and_then(|summary| summary.flakes.as_ref());
        flakes.into_iter().flat_map(Flakes::flaky)
    }

    /// How steady the cases were, where they were repeated.
    pub fn steadiness(&self) -> Option<String> {
        let summary = self.summary.as_ref()?;
        Some(summary.flakes.as_ref()?.words(summary.repeat))
    }

    /// The cases by area, in the order of SPEC.md.
    pub fn areas(&self) -> Vec<Area<'_>> {
        let mut cases: BTreeMap<(usize, &str), Vec<&CaseResult>> = BTreeMap::new();
        for result in &self.results {
            let id = result.case.sentence_id();
            let place = spec::sentences().iter().position(|sentence| sentence.id == id).unwrap_or(usize::MAX);
            cases.entry((place, result.case.id)).or_default().push(result);
        }
        let mut areas: Vec<Area<'_>> = Vec::new();
        for mut turns in cases.into_values() {
            turns.sort_by_key(|result| result.turn);
            let tried = Tried { case: &turns[0].case, turns };
            match areas.last_mut().filter(|area| area.name == tried.case.area()) {
                Some(area) => area.tried.push(tried),
                None => {
                    let (name, section) = (tried.case.area(), tried.case.sentence().section.as_str());
                    areas.push(Area { name, section, tried: vec![tried] });
                }
            }
        }
        areas
    }

    /// When the run began, as `2026-11-23T13:24:42Z`.
    pub fn began_text(&self) -> String {
        self.began.replace_nanosecond(0).unwrap_or(self.began).format(&Rfc3339).unwrap_or_default()
    }

    /// How long the cases took altogether.
    pub fn took(&self) -> Duration {
        self.summary.as_ref().map_or(Duration::ZERO, |summary| summary.took)
    }
}

impl Tried<'_> {
    /// The turn that tells most: the first of those that ended worst.
    pub fn worst(&self) -> &CaseResult {
        let worst = self.ending();
        self.turns.iter().find(|turn| Ending::of(&turn.verdict) == worst).unwrap_or(&self.turns[0])
    }

    /// How that one ended.
    pub fn ending(&self) -> Ending {
        self.turns.iter().map(|turn| Ending::of(&turn.verdict)).max().unwrap_or(Ending::NotRun)
    }

    /// How long all turns took.
    pub fn took(&self) -> Duration {
        self.turns.iter().map(|turn| turn.took).sum()
    }

    /// `2 of 20 turns`, where there is more than one turn and not all ended like the worst.
    pub fn share(&self) -> Option<String> {
        let alike = self.turns.iter().filter(|turn| Ending::of(&turn.verdict) == self.ending()).count();
        (alike < self.turns.len()).then(|| format!("{alike} of {} turns", self.turns.len()))
    }
}

impl Area<'_> {
    /// The count of a level.
    pub fn count(&self, level: Level) -> Count {
        let mut count = Count::default();
        let tried = self.tried.iter().filter(|tried| tried.case.level() == level);
        tried.flat_map(|tried| &tried.turns).for_each(|turn| count.add(&turn.verdict));
        count
    }
}

impl Ending {
    /// Every ending, the most serious first.
    pub const ALL: [Self; 5] = [Self::Failed, Self::NotRun, Self::KnownFailing, Self::NotApplicable, Self::Passed];

    /// The ending of a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::Failed { .. } => Self::Failed,
            Verdict::KnownFailing { .. } => Self::KnownFailing,
            Verdict::NotApplicable { .. } => Self::NotApplicable,
            Verdict::NotRun { .. } => Self::NotRun,
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotApplicable => "not applicable",
            Self::KnownFailing => "known failing",
            Self::NotRun => "not run",
            Self::Failed => "failed",
        }
    }
}

/// The command that runs a case again.
pub fn again(case: &Case, seed: &str) -> String {
    format!("notify-conformance run --only {} --seed {seed}", case.id)
}

/// A duration for people.
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

fn checks(count: usize) -> String {
    if count == 1 { "1 check".to_owned() } else { format!("{count} checks") }
}
