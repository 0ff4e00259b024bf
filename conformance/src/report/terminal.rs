//! The report on the terminal: a progress bar, each failure as it happens, the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    event::{CaseResult, Conformance, Count, RunEvent, Summary, Verdict},
    spec::Profile,
    text::shorten,
    transcript::Line,
};

/// The most lines of a transcript that a failure shows; all of them are in the JSON report.
const TRANSCRIPT_LINES: usize = 40;
/// The longest line of a transcript, in bytes.
const TRANSCRIPT_WIDTH: usize = 240;
/// The longest line of a note, in bytes.
const TEXT_WIDTH: usize = 88;

/// Prints to standard output; the progress bar goes to standard error.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
    seed: String,
    remarks: Vec<String>,
    /// Why a case does not apply → the cases, each once.
    not_applicable: BTreeMap<String, BTreeSet<&'static str>>,
}

impl Terminal {
    /// A report for the run with this seed.
    pub fn new(seed: u64) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("  {bar:40} {pos}/{len} cases  {elapsed}") {
            bar.set_style(style);
        }
        Self { bar, seed: format!("{seed:x}"), remarks: Vec::new(), not_applicable: BTreeMap::new() }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Ready(part, what, took) => {
                self.say(&format!("  {part:<9} {what:<60} ready  {}", seconds(*took)));
            }
            RunEvent::Busy(part, what) => self.say(&paragraph(part, what)),
            RunEvent::Remark(remark) => {
                self.say(&paragraph("note", remark));
                self.remarks.push(remark.clone());
            }
            RunEvent::Environment(_) => {}
            RunEvent::GivenUp(why) => {
                self.bar.finish_and_clear();
                eprintln!("error: {why}\n  → {}", Conformance::Inconclusive.words());
            }
            RunEvent::Planned(cases) => self.bar.set_length(*cases as u64),
            RunEvent::Finished(result) => {
                if let Verdict::NotApplicable { reason } = &result.verdict {
                    self.not_applicable.entry(reason.clone()).or_default().insert(result.case.id);
                }
                if let Some(text) = case(result, &self.seed) {
                    self.say(&text);
                }
                self.bar.inc(1);
            }
            RunEvent::Ended(summary) => {
                self.bar.finish_and_clear();
                for (reason, cases) in &self.not_applicable {
                    let ids: Vec<_> = cases.iter().copied().collect();
                    line(&paragraph("N/A", &format!("{reason} ({}): {}", ids.len(), ids.join(", "))));
                }
                self.remarks.iter().for_each(|remark| line(&paragraph("note", remark)));
                line(&verdict(summary));
            }
        }
    }

    fn say(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            self.bar.suspend(|| line(text));
        } else {
            line(text);
        }
    }
}

/// A reader that has gone, such as `head`, changes nothing about the verdict.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A text behind its name, in lines that a terminal need not break.
fn paragraph(name: &str, text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.is_empty() || line.len() + 1 + word.len() <= TEXT_WIDTH);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    format!("  {name:<9} {}", lines.join(&format!("\n{:12}", "")))
}

fn case(result: &CaseResult, seed: &str) -> Option<String> {
    let case = &result.case;
    let sentence = case.sentence();
    let mut text = String::new();
    match &result.verdict {
        Verdict::Passed | Verdict::NotApplicable { .. } => return None,
        Verdict::KnownFailing { actual, known, .. } => {
            return Some(format!(
                "  KNOWN  {}  {}  {}\n        actual    {actual}\n        because   {known}",
                case.id, sentence.level, case.title
            ));
        }
        Verdict::NotRun { reason } => {
            let _ = writeln!(text, "  NOT RUN  {}  {}  {}", case.id, sentence.level, case.title);
            let _ = writeln!(text, "        because   {reason}");
        }
        Verdict::Failed { expected, actual } => {
            let _ = writeln!(text, "  FAIL  {}  {}  {}  {}", case.id, sentence.level, case.title, seconds(result.took));
            let _ = writeln!(text, "        SPEC {}: \"{}\"", sentence.id, sentence.text);
            let _ = writeln!(text, "        expected  {expected}");
            let _ = writeln!(text, "        actual    {actual}");
        }
    }
    transcript(&mut text, &result.transcript);
    let _ = write!(text, "        again: notify-conformance run --only {} --seed {seed}", case.id);
    if case.profile() != Profile::default() {
        let _ = write!(text, " --profile {}", case.profile());
    }
    Some(text)
}

/// The beginning tells how the case came about, the end what went wrong.
fn transcript(text: &mut String, lines: &[Line]) {
    let skipped = lines.len().saturating_sub(TRANSCRIPT_LINES);
    let head = if skipped == 0 { lines.len() } else { TRANSCRIPT_LINES / 4 };
    for (at, line) in lines.iter().enumerate() {
        if at == head {
            let _ = writeln!(text, "        … {skipped} lines, see --report json=FILE");
        }
        if at < head || at >= head + skipped {
            let short = shorten(&line.text, TRANSCRIPT_WIDTH);
            let at_ms = line.at_us / 1_000;
            let _ = writeln!(
                text,
                "        +{}.{:03} {:<5} {} {short}",
                at_ms / 1_000,
                at_ms % 1_000,
                line.channel,
                line.direction
            );
        }
    }
}

fn verdict(summary: &Summary) -> String {
    let mut text = String::new();
    if let Some(flakes) = &summary.flakes {
        for (id, rate) in flakes.flaky() {
            let _ = writeln!(text, "  flaky     {id} {rate}");
        }
        let _ = writeln!(text, "  repeat    {}", flakes.words(summary.repeat));
    }
    for entry in &summary.stale {
        let _ = writeln!(text, "  baseline  {entry}");
    }
    if summary.deselected > 0 {
        let _ = writeln!(
            text,
            "  note      {} cases were left out by the selection: the verdict is on the rest",
            summary.deselected
        );
    }
    let sum = |part: fn(&Count) -> usize| part(&summary.must) + part(&summary.should);
    if sum(Count::bound) == 0 && sum(|count| count.not_applicable) > 0 {
        let _ = writeln!(
            text,
            "  note      nothing of what was chosen applies to this target: N/A says what it does not declare"
        );
    }
    let _ = write!(
        text,
        "  {} · MUST {} · SHOULD {} · not applicable {} · known failing {} · not run {} · {} · seed {}   → {}",
        summary.profiles.iter().map(|profile| profile.name()).collect::<Vec<_>>().join(", "),
        passed(&summary.must),
        passed(&summary.should),
        sum(|count| count.not_applicable),
        sum(|count| count.known_failing),
        sum(|count| count.not_run),
        seconds(summary.took),
        summary.seed,
        summary.conformance.words(),
    );
    text
}

fn passed(count: &Count) -> String {
    format!("{}/{}", count.passed, count.bound())
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
