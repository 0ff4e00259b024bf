//! The report for GitHub Actions: annotations as workflow commands, and a job summary in Markdown.
//!
//! Text of the target's own goes through `data`, `property` or `cell`, so that it can be neither a command nor markup.

use std::fmt::Write as _;

use super::record::{Ending, Record, Tried, again, seconds};
use crate::{
    event::{CaseResult, Conformance, Count, Known, Verdict},
    spec::Level,
    text::shorten,
};

/// The most cases that are told one by one; GitHub shows ten annotations of a step, and takes a summary of 1 MiB.
const CASES: usize = 50;
/// The longest text of an annotation, in bytes.
const ANNOTATION_LIMIT: usize = 1_500;
/// The longest expected or actual value in the summary, in bytes.
const VALUE_LIMIT: usize = 4_000;
/// The last lines of a transcript that the summary shows.
const TRANSCRIPT_LINES: usize = 20;
/// The longest of them, in bytes.
const TRANSCRIPT_WIDTH: usize = 240;

/// From here on, output is not searched for commands: the terminal's report quotes the target.
pub fn begin_fence(fence: &str) -> String {
    format!("::stop-commands::{fence}")
}

/// From here on, it is again.
pub fn end_fence(fence: &str) -> String {
    format!("::{fence}::")
}

/// One command for each case that did not pass, the gravest first, and one for the verdict.
pub fn annotations(record: &Record) -> String {
    let mut text = String::new();
    let kind = match record.conformance() {
        Conformance::Conformant | Conformance::ConformantButKnown => "notice",
        Conformance::NotConformant | Conformance::Inconclusive => "error",
    };
    command(&mut text, kind, record.conformance().words(), &record.reason());
    let red = red(record);
    for tried in red.iter().take(CASES) {
        let title = format!("{} {} {}", tried.case.id, tried.case.level(), tried.case.title);
        let what = match &tried.worst().verdict {
            Verdict::Failed { expected, actual } => format!("expected {expected}\nactual   {actual}"),
            Verdict::NotRun { reason } | Verdict::NotApplicable { reason } => format!("not run: {reason}"),
            Verdict::Passed | Verdict::KnownFailing { .. } => continue,
        };
        let message = format!("{}\nagain: {}", shorten(&what, ANNOTATION_LIMIT), again(tried.case, seed(record)));
        command(&mut text, "error", &title, &message);
    }
    if red.len() > CASES {
        command(&mut text, "error", "and more", &format!("{} further cases did not pass", red.len() - CASES));
    }
    for remark in &record.remarks {
        command(&mut text, "warning", "Note", remark);
    }
    for entry in record.stale() {
        command(&mut text, "error", &format!("Baseline {}", entry.id), &entry.to_string());
    }
    for (id, rate) in record.flaky() {
        command(&mut text, "warning", &format!("Flaky {id}"), &format!("{id} {rate}"));
    }
    for (tried, known) in known(record) {
        let title = format!("Known failing {} {}", tried.case.id, tried.case.level());
        command(&mut text, "notice", &title, &shorten(&known.to_string(), ANNOTATION_LIMIT));
    }
    text
}

/// The summary of the job.
pub fn job_summary(record: &Record) -> String {
    let mut text = String::new();
    let sign = match record.conformance() {
        Conformance::Conformant => "✅",
        Conformance::ConformantButKnown => "☑️",
        Conformance::NotConformant => "❌",
        Conformance::Inconclusive => "⚠️",
    };
    let _ = writeln!(text, "## {sign} {}: {}\n", record.conformance().words(), cell(&record.environment.target));
    let _ = writeln!(text, "{}\n", cell(&record.reason()));
    for remark in &record.remarks {
        let _ = writeln!(text, "> {}\n", cell(remark));
    }
    for entry in record.stale() {
        let _ = writeln!(text, "> **Baseline:** {}\n", cell(&entry.to_string()));
    }
    for (id, rate) in record.flaky() {
        let _ = writeln!(text, "> **Flaky:** {id} {rate}\n");
    }
    if let Some(steadiness) = record.steadiness() {
        let _ = writeln!(text, "Repeated {steadiness}.\n");
    }
    areas(&mut text, record);
    known_failing(&mut text, record);
    let red = red(record);
    red.iter().take(CASES).for_each(|tried| case(&mut text, tried, seed(record)));
    if red.len() > CASES {
        let _ = writeln!(text, "… and {} further cases\n", red.len() - CASES);
    }
    let took = seconds(record.took());
    let _ = writeln!(
        text,
        "<sub>seed {} · {took} · notify-conformance {}</sub>\n",
        seed(record),
        env!("CARGO_PKG_VERSION")
    );
    text
}

fn areas(text: &mut String, record: &Record) {
    text.push_str("| Area | MUST | SHOULD | known failing | not applicable | not run |\n|---|--:|--:|--:|--:|--:|\n");
    for area in record.areas() {
        let (must, should) = (area.count(Level::Must), area.count(Level::Should));
        let _ = writeln!(
            text,
            "| {} {} | {} | {} | {} | {} | {} |",
            area.name,
            cell(area.section.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ')),
            passed(&must),
            passed(&should),
            must.known_failing + should.known_failing,
            must.not_applicable + should.not_applicable,
            must.not_run + should.not_run,
        );
    }
    text.push('\n');
}

fn known_failing(text: &mut String, record: &Record) {
    let known = known(record);
    if known.is_empty() {
        return;
    }
    text.push_str("| Known failing | Level | Because | Owner | Expires after |\n|---|---|---|---|---|\n");
    for (tried, known) in known {
        let (reason, owner) = (cell(&known.reason), cell(&known.owner));
        let (id, level) = (tried.case.id, tried.case.level());
        let _ = writeln!(text, "| {id} | {level} | {reason} | {owner} | {} |", known.expires);
    }
    text.push('\n');
}

fn case(text: &mut String, tried: &Tried<'_>, seed: &str) {
    let worst = tried.worst();
    let _ = writeln!(
        text,
        "<details><summary><b>{}</b> {} · {} · {}</summary>\n",
        tried.ending().words().to_uppercase(),
        tried.case.id,
        tried.case.level(),
        cell(tried.case.title)
    );
    let sentence = tried.case.sentence();
    let _ = writeln!(text, "> SPEC {}: {}\n", sentence.id, cell(&sentence.text));
    match &worst.verdict {
        Verdict::Failed { expected, actual } => {
            let values = format!("expected  {expected}\nactual    {actual}");
            block(text, &shorten(&values, VALUE_LIMIT));
        }
        Verdict::NotRun { reason } | Verdict::NotApplicable { reason } => block(text, &shorten(reason, VALUE_LIMIT)),
        Verdict::Passed | Verdict::KnownFailing { .. } => {}
    }
    block(text, &last_lines(worst));
    block(text, &again(tried.case, seed));
    text.push_str("</details>\n\n");
}

fn last_lines(result: &CaseResult) -> String {
    let skipped = result.transcript.len().saturating_sub(TRANSCRIPT_LINES);
    let mut text = if skipped > 0 { format!("… {skipped} lines before\n") } else { String::new() };
    for line in &result.transcript[skipped..] {
        let at_ms = line.at_us / 1_000;
        let short = shorten(&line.text, TRANSCRIPT_WIDTH).replace('\n', "⏎");
        let (s, ms) = (at_ms / 1_000, at_ms % 1_000);
        let _ = writeln!(text, "+{s}.{ms:03} {:<5} {} {short}", line.channel, line.direction);
    }
    text
}

/// What failed, MUST before SHOULD, then what was not run.
fn red(record: &Record) -> Vec<Tried<'_>> {
    let all = record.areas().into_iter().flat_map(|area| area.tried);
    let mut red: Vec<_> = all.filter(|tried| matches!(tried.ending(), Ending::Failed | Ending::NotRun)).collect();
    red.sort_by_key(|tried| (std::cmp::Reverse(tried.ending()), tried.case.level()));
    red
}

/// What failed as the baseline says, and what it says.
fn known(record: &Record) -> Vec<(Tried<'_>, Known)> {
    let all = record.areas().into_iter().flat_map(|area| area.tried);
    let known = all.filter_map(|tried| match &tried.worst().verdict {
        Verdict::KnownFailing { known, .. } => {
            let known = known.clone();
            Some((tried, known))
        }
        _ => None,
    });
    known.collect()
}

fn seed(record: &Record) -> &str {
    &record.environment.seed
}

fn passed(count: &Count) -> String {
    format!("{}/{}", count.passed, count.bound())
}

fn command(text: &mut String, kind: &str, title: &str, message: &str) {
    let _ = writeln!(text, "::{kind} title={}::{}", property(title), data(message));
}

/// A command's message: one line, whatever it says.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A command's parameter.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text on one line of Markdown, in a table or not.
fn cell(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' | '\n' => clean.push(' '),
            '&' => clean.push_str("&amp;"),
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => {
                clean.push('\\');
                clean.push(c);
            }
            c if c.is_control() => clean.push(char::REPLACEMENT_CHARACTER),
            c => clean.push(c),
        }
    }
    clean
}

/// A block of code whose fence is longer than any in it.
fn block(text: &mut String, code: &str) {
    let clean: String = code.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(text, "{fence}text\n{}\n{fence}\n", clean.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_annotation_is_one_line_and_nothing_of_the_targets_is_a_command() {
        let text = annotations(&sample::record_of(&sample::events()));
        for line in text.lines() {
            let kind = line.strip_prefix("::").and_then(|rest| rest.split_once(" title=")).map(|(kind, _)| kind);
            assert!(matches!(kind, Some("error" | "warning" | "notice")), "{line}");
        }
        assert!(text.starts_with("::error title=NOT CONFORMANT::1 of"), "{text}");
        assert!(text.contains("title=QUEUE-03/exactly-50 MUST fifty events are all kept::expected"), "{text}");
        assert!(text.contains("title=QUEUE-06/expires") && !text.contains("QUEUE-15/corrupt"), "{text}");
    }

    #[test]
    fn what_is_known_what_is_stale_and_what_flakes_is_told() {
        let record = sample::record_of(&sample::events_with_baseline());
        let text = annotations(&record);
        for part in [
            "::error title=QUEUE-03/exactly-50 MUST",
            "::error title=Baseline AUTH-08/expired::AUTH-08/expired (owner <script>",
            "the case passes: take the entry out",
            "::error title=Baseline QUEUE-15/corrupt::",
            "::warning title=Flaky QUEUE-03/exactly-50::QUEUE-03/exactly-50 failed 1 of 2 runs (50 %25;",
            "::notice title=Known failing QUEUE-12/nothing MUST::reason <script>",
            "(owner team-b, expires after 2026-12-31)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.lines().all(|line| line.starts_with("::")), "{text}");
        assert!(!text.contains("::error title=QUEUE-12"), "a known failure is no error: {text}");
        let text = job_summary(&record);
        for part in [
            "> **Baseline:** AUTH-08/expired (owner &lt;script&gt;",
            "> **Flaky:** QUEUE-03/exactly-50 failed 1 of 2 runs",
            "Repeated 2 times, 1 flake in 4 runs",
            "| QUEUE-12/nothing | MUST | reason &lt;script&gt;",
            "| team-b | 2026-12-31 |",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_run_that_is_conformant_but_for_what_is_known_is_no_error() {
        let record = sample::record_with(&[Verdict::Passed, sample::known_failing()]);
        assert!(annotations(&record).starts_with("::notice title=CONFORMANT BUT FOR WHAT IS KNOWN::"));
        assert!(!annotations(&record).contains("::error title"));
        assert!(job_summary(&record).starts_with("## ☑️ CONFORMANT BUT FOR WHAT IS KNOWN"));
    }

    #[test]
    fn a_title_is_escaped_further_than_a_message() {
        assert_eq!(property("a:b,c%\r\n"), "a%3Ab%2Cc%25%0D%0A");
        assert_eq!(data("a:b,c%\r\n"), "a:b,c%25%0D%0A");
    }

    #[test]
    fn the_summary_has_the_verdict_areas_and_failures_and_no_markup_of_the_targets() {
        let text = job_summary(&sample::record_of(&sample::events()));
        assert!(text.starts_with("## ❌ NOT CONFORMANT: target &lt;script&gt;"), "{text}");
        assert!(text.contains("| QUEUE Offline queue | 2/4 |"), "{text}");
        assert!(text.contains("<b>FAILED</b> QUEUE-03/exactly-50 · MUST") && text.contains("\n````text\n"), "{text}");
        let mut fence = None;
        for line in text.lines() {
            match fence {
                Some(open) if line == open => fence = None,
                None if line.starts_with("```") => fence = Some(line.trim_end_matches("text")),
                Some(_) => {}
                None => assert!(!line.contains("<script>") && !line.starts_with("# "), "markup outside code: {line}"),
            }
        }
        assert_eq!(fence, None, "every block is closed");
    }
}
