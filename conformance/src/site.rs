//! Several implementations side by side, as a folder that any web server can show: which sentence each of them holds. Knows only what their
//! reports tell.

mod page;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    cases,
    compare::read::{Report, State},
    event::Conformance,
    spec::{self, Sentence},
};

/// A report, and where it lies.
pub struct Source {
    /// The JSON that it was read from.
    pub file: PathBuf,
    /// What it tells.
    pub report: Report,
}

/// Why the folder could not be written.
#[derive(Debug, Error)]
#[error("{path}: {error}")]
pub struct WriteError {
    path: PathBuf,
    error: std::io::Error,
}

/// What the page shows.
struct Table {
    implementations: Vec<Implementation>,
    rows: Vec<Row>,
}

struct Implementation {
    name: String,
    suite: String,
    conformance: Conformance,
    /// Its reports, beside the page.
    json: String,
    html: Option<String>,
}

struct Row {
    sentence: &'static Sentence,
    /// Of each implementation, in their order; none where no case about the sentence was chosen.
    cells: Vec<Option<Cell>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    state: State,
    /// The cases that make it that.
    cases: Vec<String>,
}

/// Writes `index.html`, and beside it what it leads to: each report, with the page that `run` has written where one of that name lies next
/// to it.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(folder: &Path, sources: &[Source]) -> Result<(), WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| WriteError { path, error }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut implementations = Vec::new();
    for (n, Source { file, report }) in sources.iter().enumerate() {
        let beside = |ending: &str| format!("{}-{}.{ending}", n + 1, slug(&report.target));
        let copy = |from: &Path, name: &str| fs::copy(from, folder.join(name)).map(drop).map_err(failed(from));
        let json = beside("json");
        copy(file, &json)?;
        let page = file.with_extension("html");
        let html = page.is_file().then(|| beside("html"));
        if let Some(name) = &html {
            copy(&page, name)?;
        }
        let Report { target, suite, conformance, .. } = report;
        let (name, suite) = (target.clone(), suite.clone());
        implementations.push(Implementation { name, suite, conformance: *conformance, json, html });
    }
    let reports: Vec<_> = sources.iter().map(|source| &source.report).collect();
    let table = Table { implementations, rows: rows(&reports) };
    let index = folder.join("index.html");
    fs::write(&index, page::render(&table)).map_err(failed(&index))
}

/// A name that is one everywhere: as a file and in a link.
fn slug(name: &str) -> String {
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    plain.take(40).collect()
}

/// The sentences that any of the reports tells of, in the order of SPEC.md.
fn rows(reports: &[&Report]) -> Vec<Row> {
    let columns: Vec<_> = reports.iter().map(|report| by_sentence(report)).collect();
    let row = |sentence: &'static Sentence| {
        let cells: Vec<_> = columns.iter().map(|column| column.get(&*sentence.id).cloned()).collect();
        cells.iter().any(Option::is_some).then_some(Row { sentence, cells })
    };
    spec::sentences().iter().filter_map(row).collect()
}

/// What a report comes to for each sentence: the worst of the cases about it.
fn by_sentence(report: &Report) -> BTreeMap<String, Cell> {
    let known = cases::all();
    let mut found: BTreeMap<String, Cell> = BTreeMap::new();
    for (id, case) in &report.cases {
        let own = || vec![id.split('/').next().unwrap_or_default()];
        let about = known.iter().find(|it| it.id == id).map_or_else(own, |it| it.sentences().collect());
        for sentence in about {
            let cell = found.entry(sentence.to_owned()).or_insert(Cell { state: case.state, cases: Vec::new() });
            if weight(case.state) > weight(cell.state) {
                *cell = Cell { state: case.state, cases: Vec::new() };
            }
            if case.state == cell.state {
                cell.cases.push(id.clone());
            }
        }
    }
    found
}

/// What decides over a sentence when its cases differ.
fn weight(state: State) -> u8 {
    match state {
        State::NotApplicable => 0,
        State::Passed => 1,
        State::NotRun => 2,
        State::KnownFailing => 3,
        State::Flaky => 4,
        State::Failed => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::read::CaseEnd;

    fn report(target: &str, cases: &[(&str, State)]) -> Report {
        let end = |state| CaseEnd {
            title: "t".to_owned(),
            level: "MUST".to_owned(),
            state,
            findings: Vec::new(),
            failed: 0,
            runs: 1,
            took_us: 1,
        };
        let cases = cases.iter().map(|(id, state)| ((*id).to_owned(), end(*state))).collect();
        let conformance = Conformance::NotConformant;
        Report { target: target.to_owned(), suite: "0.1.0".to_owned(), conformance, cases }
    }

    #[test]
    fn the_worst_of_its_cases_decides_over_a_sentence() {
        let told = report(
            "t",
            &[
                ("QUEUE-03/exactly-50", State::Passed),
                ("QUEUE-03/types", State::Failed),
                ("QUEUE-03/far-over", State::Flaky),
                // It is about QUEUE-09 and QUEUE-10 as well.
                ("QUEUE-01/reconnect", State::NotApplicable),
                ("QUEUE-10/oldest-first", State::Passed),
                // Of another version of the suite.
                ("QUEUE-02/of-tomorrow", State::NotRun),
            ],
        );
        let found = by_sentence(&told);
        let states: Vec<_> = found.iter().map(|(id, cell)| (&**id, cell.state)).collect();
        let expected = [
            ("QUEUE-01", State::NotApplicable),
            ("QUEUE-02", State::NotRun),
            ("QUEUE-03", State::Failed),
            ("QUEUE-09", State::NotApplicable),
            ("QUEUE-10", State::Passed),
        ];
        assert_eq!(states, expected);
        assert_eq!(found["QUEUE-03"].cases, ["QUEUE-03/types"]);
    }

    #[test]
    fn the_folder_has_a_page_and_all_that_it_leads_to() {
        let folder = tempfile::tempdir().expect("there is room");
        let source = |name: &str, told: Report| {
            let file = folder.path().join(name);
            fs::write(&file, "{}").expect("there is room");
            Source { file, report: told }
        };
        let sources = [
            source("a.json", report("peer <1>", &[("QUEUE-03/types", State::Failed)])),
            source(
                "b.json",
                report("peer <1>", &[("QUEUE-03/types", State::Passed), ("QUEUE-02/live-only", State::Passed)]),
            ),
        ];
        fs::write(folder.path().join("b.html"), "its page").expect("there is room");
        let site = folder.path().join("site");
        write(&site, &sources).expect("there is room");
        let page = fs::read_to_string(site.join("index.html")).expect("it was written");
        assert!(page.contains("peer &lt;1&gt;") && !page.contains("peer <1>"));
        for name in ["1-peer--1-.json", "2-peer--1-.json", "2-peer--1-.html"] {
            assert!(page.contains(&format!("href=\"{name}\"")), "{name}");
            assert!(site.join(name).is_file(), "{name}");
        }
        assert!(page.contains("QUEUE-02") && page.contains("QUEUE-03") && !page.contains("QUEUE-04"));
        assert!(page.contains("title=\"QUEUE-03/types\""), "a cell names the cases that decide");
    }
}
