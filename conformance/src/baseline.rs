//! The baseline: the cases that are known to fail, each with a reason, an owner and a last day.
//!
//! Reads and checks the file, and says what its entries mean for a result. Knows nothing of runs, and today's date only as it
//! is told.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use thiserror::Error;
use time::{Date, Month};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    case::Case,
    event::{Count, EntryFault, Known, StaleEntry, Verdict},
};

/// The list in the file.
const LIST: &str = "known_failing";
/// What an entry has, and all of it.
const KEYS: &[&str] = &["id", "reason", "owner", "expires"];

/// What is known to fail. The empty one, the default, excuses nothing.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    known: Known,
    expired: bool,
}

/// Why a baseline cannot be used.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// The file cannot be read.
    #[error("cannot read the baseline {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It can, and is wrong.
    #[error("the baseline {path} is not right:{}", lines(.problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Every problem, with line and key.
        problems: Vec<String>,
    },
}

fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl Baseline {
    /// Reads a file about `cases`, as it holds on the day `today`.
    ///
    /// # Errors
    /// Where the file cannot be read, is not of the right form, or has an entry that names no case or is there twice.
    pub fn read(path: &Path, cases: &[Case], today: Date) -> Result<Self, BaselineError> {
        let text = fs::read_to_string(path).map_err(|source| BaselineError::Read { path: path.to_owned(), source })?;
        let ids: Vec<_> = cases.iter().map(|case| case.id).collect();
        Self::parse(&text, &ids, today).map_err(|problems| BaselineError::Wrong { path: path.to_owned(), problems })
    }

    /// The verdict in the light of the baseline: a failure that an entry excuses is known.
    pub fn judge(&self, id: &str, verdict: Verdict) -> Verdict {
        match (verdict, self.entries.get(id)) {
            (Verdict::Failed { expected, actual }, Some(entry)) if !entry.expired => {
                Verdict::KnownFailing { expected, actual, known: entry.known.clone() }
            }
            (verdict, _) => verdict,
        }
    }

    /// The entries that do not hold, after a run whose cases ended so. Of a case that was not in the run, could not be run or
    /// did not apply, nothing is known but whether its entry is too old.
    pub fn faults(&self, counts: &BTreeMap<&str, Count>) -> Vec<StaleEntry> {
        let count = |id: &str| counts.get(id).copied().unwrap_or_default();
        self.entries.keys().filter_map(|id| self.fault(id, &count(id))).collect()
    }

    /// What is wrong with the entry for a case whose runs, all of them, ended so.
    fn fault(&self, id: &str, count: &Count) -> Option<StaleEntry> {
        let entry = self.entries.get(id)?;
        let fault = match (count.passed, count.red()) {
            (1.., 0) => EntryFault::Passes,
            (passed @ 1.., red) => EntryFault::Flaky { passed, runs: passed + red },
            _ if entry.expired => EntryFault::Expired { expires: entry.known.expires.clone() },
            _ => return None,
        };
        Some(StaleEntry { id: id.to_owned(), owner: entry.known.owner.clone(), fault })
    }

    fn parse(text: &str, cases: &[&str], today: Date) -> Result<Self, Vec<String>> {
        let (entries, ids, problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut reader = Reader { text, cases, today, entries, ids, problems };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            reader.problem(error.span().map_or(0, |span| span.start), error.message());
        }
        // What else looks wrong in a file that is no TOML follows from that.
        if reader.problems.is_empty() {
            reader.file(table.get_ref());
        }
        let Reader { entries, mut problems, .. } = reader;
        if problems.is_empty() {
            return Ok(Self { entries });
        }
        problems.sort_by_key(|(line, _)| *line);
        Err(problems.into_iter().map(|(line, what)| format!("line {line}: {what}")).collect())
    }
}

struct Reader<'a> {
    text: &'a str,
    cases: &'a [&'a str],
    today: Date,
    entries: BTreeMap<String, Entry>,
    /// Each id with its line.
    ids: BTreeMap<String, usize>,
    /// Each with its line.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn file(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            if key.get_ref() != LIST {
                self.problem(key.span().start, &format!("{}: unknown; a baseline has only [[{LIST}]]", key.get_ref()));
                continue;
            }
            let Some(entries) = value.get_ref().as_array() else {
                self.problem(value.span().start, &format!("{LIST}: must be a list of tables, [[{LIST}]]"));
                continue;
            };
            for (at, entry) in entries.iter().enumerate() {
                match entry.get_ref().as_table() {
                    Some(table) => self.entry(&format!("{LIST}[{at}]"), entry.span().start, table),
                    None => self.problem(entry.span().start, &format!("{LIST}[{at}]: must be a table")),
                }
            }
        }
    }

    fn entry(&mut self, name: &str, place: usize, table: &DeTable<'_>) {
        for key in table.keys().filter(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            let known = KEYS.join(", ");
            self.problem(key.span().start, &format!("{name}.{}: unknown; an entry has {known}", key.get_ref()));
        }
        for key in KEYS.iter().filter(|key| !table.contains_key(**key)) {
            self.problem(place, &format!("{name}.{key}: is missing"));
        }
        let mut text = |key| self.words(name, key, table.get(key)?);
        let (id, reason, owner) = (text("id"), text("reason"), text("owner"));
        let expires = table.get("expires").and_then(|value| self.date(name, value));
        if let Some((place, id)) = &id {
            self.names_a_case(name, *place, id);
        }
        if let (Some((_, id)), Some((_, reason)), Some((_, owner)), Some(last)) = (id, reason, owner, expires) {
            let known = Known { reason, owner, expires: last.to_string() };
            self.entries.insert(id, Entry { known, expired: last < self.today });
        }
    }

    /// A text that says something, and where it stands.
    fn words(&mut self, name: &str, key: &str, value: &Spanned<DeValue<'_>>) -> Option<(usize, String)> {
        let place = value.span().start;
        match value.get_ref().as_str().map(str::trim) {
            Some("") => self.problem(place, &format!("{name}.{key}: is empty")),
            Some(words) => return Some((place, words.to_owned())),
            None => self.problem(place, &format!("{name}.{key}: must be a text")),
        }
        None
    }

    fn date(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Date> {
        let written = value.get_ref().as_datetime().filter(|it| it.time.is_none() && it.offset.is_none());
        let date = written.and_then(|it| it.date).and_then(|date| {
            let month = Month::try_from(date.month).ok()?;
            Date::from_calendar_date(i32::from(date.year), month, date.day).ok()
        });
        if date.is_none() {
            let problem = format!("{name}.expires: must be a date such as 2026-12-31, without quotes and time of day");
            self.problem(value.span().start, &problem);
        }
        date
    }

    fn names_a_case(&mut self, name: &str, place: usize, id: &str) {
        if let Some(first) = self.ids.get(id) {
            let problem = format!("{name}.id: {id:?} is there already, in line {first}");
            return self.problem(place, &problem);
        }
        self.ids.insert(id.to_owned(), line(self.text, place));
        if self.cases.contains(&id) {
            return;
        }
        let of_it: Vec<_> = self.cases.iter().filter(|case| case.split('/').next() == Some(id)).copied().collect();
        let problem = if of_it.is_empty() {
            format!("{name}.id: there is no case {id:?}; `list` shows them all")
        } else {
            // An entry for a sentence would also excuse cases that pass today, and those to come.
            format!("{name}.id: {id:?} is a sentence; name a case of it: {}", of_it.join(", "))
        };
        self.problem(place, &problem);
    }

    fn problem(&mut self, place: usize, what: &str) {
        self.problems.push((line(self.text, place), what.to_owned()));
    }
}

/// The line of a place in the text, from 1.
fn line(text: &str, place: usize) -> usize {
    text.as_bytes().iter().take(place).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[&str] = &["A-01/one", "A-01/two", "B-01/one"];

    fn day(text: &str) -> Date {
        let mut parts = text.split('-').map(|part| part.parse::<u16>().expect("a number"));
        let mut next = || parts.next().expect("three parts");
        let (year, month, day) = (next(), next(), next());
        let month = Month::try_from(u8::try_from(month).expect("a month")).expect("a month");
        Date::from_calendar_date(i32::from(year), month, u8::try_from(day).expect("a day")).expect("a date")
    }

    fn on(today: &str) -> Baseline {
        let text = "[[known_failing]]\nid = \"A-01/one\"\nreason = \"r\"\nowner = \"o\"\nexpires = 2026-11-30\n";
        Baseline::parse(text, CASES, day(today)).expect("it is right")
    }

    fn failed() -> Verdict {
        Verdict::Failed { expected: "1".into(), actual: "2".into() }
    }

    fn fault(baseline: &Baseline, passed: usize, known_failing: usize) -> Option<EntryFault> {
        let count = Count { passed, known_failing, ..Count::default() };
        baseline.fault("A-01/one", &count).map(|entry| entry.fault)
    }

    #[test]
    fn a_failure_that_is_listed_is_known_and_no_other() {
        let known = Known { reason: "r".into(), owner: "o".into(), expires: "2026-11-30".into() };
        let excused = Verdict::KnownFailing { expected: "1".into(), actual: "2".into(), known };
        assert_eq!(on("2026-11-01").judge("A-01/one", failed()), excused);
        assert_eq!(on("2026-11-01").judge("A-01/two", failed()), failed());
        let not_run = Verdict::NotRun { reason: "why".into() };
        assert_eq!(on("2026-11-01").judge("A-01/one", not_run.clone()), not_run);
    }

    #[test]
    fn an_entry_holds_to_the_end_of_its_last_day() {
        assert_ne!(on("2026-11-30").judge("A-01/one", failed()), failed());
        assert_eq!(fault(&on("2026-11-30"), 0, 1), None);
        assert_eq!(on("2026-12-01").judge("A-01/one", failed()), failed());
        let expired = EntryFault::Expired { expires: "2026-11-30".into() };
        assert_eq!(fault(&on("2026-12-01"), 0, 0), Some(expired));
    }

    #[test]
    fn an_entry_whose_case_passes_is_stale_and_one_that_flakes_is_too() {
        assert_eq!(fault(&on("2026-11-01"), 3, 0), Some(EntryFault::Passes));
        assert_eq!(fault(&on("2026-12-01"), 3, 0), Some(EntryFault::Passes));
        assert_eq!(fault(&on("2026-11-01"), 1, 2), Some(EntryFault::Flaky { passed: 1, runs: 3 }));
        assert_eq!(fault(&on("2026-11-01"), 0, 3), None);
        assert_eq!(fault(&on("2026-11-01"), 0, 0), None, "not applicable, or not run");
    }

    #[test]
    fn every_problem_is_told_at_once_with_line_and_key() {
        let text = r#"format = 1
[[known_failing]]
id = "A-01"
reason = " "
owner = 7
expires = "2026-11-30"

[[known_failing]]
id = "A-01/one"
reason = "r"
owner = "o"
expires = 2026-11-30T10:00:00Z
why = "x"

[[known_failing]]
id = "C-01/one"
reason = "r"

[[known_failing]]
id = "B-01/one"
reason = "r"
owner = "o"
expires = 2026-11-30

[[known_failing]]
id = "B-01/one"
reason = "r"
owner = "o"
expires = 2026-11-30
"#;
        let problems = Baseline::parse(text, CASES, day("2026-11-01")).expect_err("it is wrong");
        let told = [
            "line 1: format: unknown; a baseline has only [[known_failing]]",
            "line 3: known_failing[0].id: \"A-01\" is a sentence; name a case of it: A-01/one, A-01/two",
            "line 4: known_failing[0].reason: is empty",
            "line 5: known_failing[0].owner: must be a text",
            "line 6: known_failing[0].expires: must be a date such as 2026-12-31, without quotes and time of day",
            "line 12: known_failing[1].expires: must be a date such as 2026-12-31, without quotes and time of day",
            "line 13: known_failing[1].why: unknown; an entry has id, reason, owner, expires",
            "line 15: known_failing[2].owner: is missing",
            "line 15: known_failing[2].expires: is missing",
            "line 16: known_failing[2].id: there is no case \"C-01/one\"; `list` shows them all",
            "line 26: known_failing[4].id: \"B-01/one\" is there already, in line 20",
        ];
        assert_eq!(problems, told);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let problems = Baseline::parse("\n[[known_failing]\n", CASES, day("2026-11-01")).expect_err("it is no TOML");
        assert!(problems[0].starts_with("line 2: "), "{problems:?}");
        let problems = Baseline::parse("known_failing = 1", CASES, day("2026-11-01")).expect_err("it is no list");
        assert_eq!(problems, ["line 1: known_failing: must be a list of tables, [[known_failing]]"]);
    }

    #[test]
    fn an_empty_file_knows_of_nothing() {
        let empty = Baseline::parse("", CASES, day("2026-11-01")).expect("it is right");
        assert_eq!(empty.judge("A-01/one", failed()), failed());
    }
}
