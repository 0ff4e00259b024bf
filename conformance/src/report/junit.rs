//! The report as JUnit XML, by `fixtures/schema/junit.xsd`: what fails is a failure, what could not be run an error, so that no
//! run without a verdict looks green. What is known to fail is skipped, with the baseline's reason, so that a run that is
//! conformant but for that is not red; a baseline entry that does not hold is a failure of its own.

use std::{fmt::Write as _, time::Duration};

use super::{
    record::{Ending, Record, Tried, again},
    xml::{attribute, escape},
};
use crate::{
    event::{CaseResult, Conformance, Verdict},
    text::shorten,
    transcript::Line,
};

/// The longest message of a failure, in bytes; its text has all of it.
const MESSAGE_LIMIT: usize = 500;
/// The most lines of a transcript; all of them are in the JSON report.
const TRANSCRIPT_LINES: usize = 200;
/// The name and class of the entry for a run that came to no verdict.
const RUN: &str = "RUN";

/// The class of the entries for the baseline's own failures; their names are the cases'.
const BASELINE: &str = "BASELINE";

/// The whole document.
pub fn render(record: &Record) -> String {
    let cases: Vec<_> = record.areas().into_iter().flat_map(|area| area.tried).collect();
    let count = |ending| cases.iter().filter(|tried| tried.ending() == ending).count();
    let no_verdict = (record.conformance() == Conformance::Inconclusive).then(|| record.reason());
    let stale = record.stale();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        text,
        "  <testsuite name=\"notify-conformance\" package=\"notify-conformance\" id=\"0\" hostname=\"localhost\" \
         timestamp=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">",
        record.began_text().trim_end_matches('Z'),
        cases.len() + stale.len() + usize::from(no_verdict.is_some()),
        count(Ending::Failed) + stale.len(),
        count(Ending::NotRun) + usize::from(no_verdict.is_some()),
        count(Ending::NotApplicable) + count(Ending::KnownFailing),
        seconds(record.took()),
    );
    properties(&mut text, record);
    cases.iter().for_each(|tried| case(&mut text, tried, &record.environment.seed));
    for entry in stale {
        open(&mut text, &entry.id, BASELINE, Duration::ZERO);
        child(&mut text, "failure", "baseline", &entry.fault.to_string(), &entry.to_string());
        text.push_str("    </testcase>\n");
    }
    if let Some(why) = no_verdict {
        open(&mut text, RUN, RUN, Duration::ZERO);
        child(&mut text, "error", "no verdict", &why, &why);
        text.push_str("    </testcase>\n");
    }
    let _ = writeln!(text, "    <system-out>{}</system-out>", escape(&said(record)));
    text.push_str("    <system-err></system-err>\n  </testsuite>\n</testsuites>\n");
    text
}

fn properties(text: &mut String, record: &Record) {
    let environment = &record.environment;
    let redis = environment.redis.as_ref().zip(environment.redis_from.as_ref());
    let redis = redis.map_or_else(|| "none".to_owned(), |(version, from)| format!("{version} ({from})"));
    text.push_str("    <properties>\n");
    for (name, value) in [
        ("verdict", record.conformance().words()),
        ("suite.version", env!("CARGO_PKG_VERSION")),
        ("target", &environment.target),
        ("target.url", &environment.url),
        ("redis", &redis),
        ("seed", &environment.seed),
        ("system", &environment.system),
    ] {
        let _ = writeln!(text, "      <property name=\"{name}\" value=\"{}\"/>", attribute(value));
    }
    text.push_str("    </properties>\n");
}

fn case(text: &mut String, tried: &Tried<'_>, seed: &str) {
    open(text, tried.case.id, tried.case.area(), tried.took());
    let worst = tried.worst();
    let level = tried.case.level().to_string();
    match &worst.verdict {
        Verdict::Passed => {}
        Verdict::Failed { expected, actual } => {
            let message = format!("{}: expected {expected}; actual {actual}", tried.case.title);
            child(text, "failure", &level, &message, &details(tried, worst, seed));
        }
        Verdict::NotRun { reason } => child(text, "error", "not run", reason, &details(tried, worst, seed)),
        Verdict::NotApplicable { reason } => skipped(text, reason),
        Verdict::KnownFailing { actual, known, .. } => {
            skipped(text, &format!("known failing: {known}; actual {actual}"));
        }
    }
    text.push_str("    </testcase>\n");
}

fn open(text: &mut String, name: &str, class: &str, took: Duration) {
    let _ = writeln!(text, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"{}\">", seconds(took));
}

fn skipped(text: &mut String, message: &str) {
    let _ = writeln!(text, "      <skipped message=\"{}\"/>", attribute(&shorten(message, MESSAGE_LIMIT)));
}

fn child(text: &mut String, element: &str, kind: &str, message: &str, details: &str) {
    let message = attribute(&shorten(message, MESSAGE_LIMIT));
    let _ = writeln!(text, "      <{element} type=\"{kind}\" message=\"{message}\">{}</{element}>", escape(details));
}

fn details(tried: &Tried<'_>, worst: &CaseResult, seed: &str) -> String {
    let sentence = tried.case.sentence();
    let mut text = format!("SPEC {}: \"{}\"\n", sentence.id, sentence.text);
    if let Some(share) = tried.share() {
        let _ = writeln!(text, "{share}");
    }
    if let Verdict::Failed { expected, actual } = &worst.verdict {
        let _ = writeln!(text, "expected  {expected}\nactual    {actual}");
    }
    let skipped = worst.transcript.len().saturating_sub(TRANSCRIPT_LINES);
    if skipped > 0 {
        let _ = writeln!(text, "… {skipped} lines, see --report json=FILE");
    }
    worst.transcript[skipped..].iter().for_each(|line| transcript(&mut text, line));
    let _ = writeln!(text, "again: {}", again(tried.case, seed));
    text
}

fn transcript(text: &mut String, line: &Line) {
    let at_ms = line.at_us / 1_000;
    let (s, ms) = (at_ms / 1_000, at_ms % 1_000);
    let _ = writeln!(text, "+{s}.{ms:03} {:<5} {} {}", line.channel, line.direction, line.text);
}

fn said(record: &Record) -> String {
    let mut text = String::new();
    for (part, what, took) in &record.ground {
        let _ = writeln!(text, "{part}: {what} ({} s)", seconds(*took));
    }
    for remark in &record.remarks {
        let _ = writeln!(text, "note: {remark}");
    }
    for (id, rate) in record.flaky() {
        let _ = writeln!(text, "flaky: {id} {rate}");
    }
    if let Some(steadiness) = record.steadiness() {
        let _ = writeln!(text, "repeat: {steadiness}");
    }
    let _ = write!(text, "{}: {}", record.conformance().words(), record.reason());
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::report::sample;

    fn suite<'a>(document: &'a Document<'_>) -> Node<'a, 'a> {
        document.root_element().first_element_child().expect("a testsuite")
    }

    fn number(node: Node<'_, '_>, name: &str) -> usize {
        node.attribute(name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} is a number"))
    }

    /// Counts in the head are what a reader would count in the body.
    fn consistent(text: &str) {
        let document = Document::parse(text).expect("it is XML");
        let suite = suite(&document);
        let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        let with = |tag: &str| cases.iter().filter(|case| case.children().any(|node| node.has_tag_name(tag))).count();
        assert_eq!(number(suite, "tests"), cases.len());
        assert_eq!(number(suite, "failures"), with("failure"));
        assert_eq!(number(suite, "errors"), with("error"));
        assert_eq!(number(suite, "skipped"), with("skipped"));
    }

    #[test]
    fn failures_are_failures_and_what_was_not_run_is_an_error() {
        let text = render(&sample::record_of(&sample::events()));
        consistent(&text);
        let document = Document::parse(&text).expect("it is XML");
        let case = |name: &str| {
            let of_name = |node: &Node<'_, '_>| node.attribute("name") == Some(name) && node.has_tag_name("testcase");
            suite(&document).children().find(of_name).unwrap_or_else(|| panic!("{name} is there once"))
        };
        let child = |name: &str| case(name).first_element_child().map(|node| node.tag_name().name().to_owned());
        assert_eq!(child("QUEUE-03/exactly-50").as_deref(), Some("failure"));
        assert_eq!(child("QUEUE-06/expires").as_deref(), Some("error"));
        assert_eq!(child("QUEUE-15/corrupt").as_deref(), Some("skipped"));
        assert_eq!(child("QUEUE-03/oldest-evicted"), None);
        assert_eq!(case("QUEUE-03/exactly-50").attribute("classname"), Some("QUEUE"));
        let failure = case("QUEUE-03/exactly-50").first_element_child().expect("a failure");
        assert_eq!(failure.attribute("type"), Some("MUST"));
        let details = failure.text().expect("details");
        for part in ["SPEC QUEUE-03", "<script>", "1 of 2 turns", "XADD", "again: notify-conformance run --only"] {
            assert!(details.contains(part), "{part} in {details}");
        }
    }

    #[test]
    fn a_known_failure_is_skipped_with_its_reason_and_an_entry_that_does_not_hold_is_a_failure() {
        let text = render(&sample::record_of(&sample::events_with_baseline()));
        consistent(&text);
        let document = Document::parse(&text).expect("it is XML");
        let child = |class: &str, name: &str| {
            let cases = suite(&document).children().filter(|node| node.attribute("classname") == Some(class));
            let case = cases.into_iter().find(|node| node.attribute("name") == Some(name)).expect("it is there");
            let child = case.first_element_child().expect("it did not pass");
            (child.tag_name().name().to_owned(), child.attribute("message").unwrap_or_default().to_owned())
        };
        let (element, message) = child("QUEUE", "QUEUE-12/nothing");
        assert_eq!(element, "skipped");
        for part in ["known failing: reason <script>", "owner team-b", "expires after 2026-12-31", "actual an event"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        let (element, message) = child("BASELINE", "AUTH-08/expired");
        assert_eq!((element.as_str(), message.as_str()), ("failure", "the case passes: take the entry out"));
        assert_eq!(child("BASELINE", "QUEUE-15/corrupt").0, "failure");
        assert_eq!(child("QUEUE", "QUEUE-03/exactly-50").0, "failure");
        assert!(text.contains("flaky: QUEUE-03/exactly-50 failed 1 of 2 runs") && text.contains("repeat: 2 times, 1"));
    }

    #[test]
    fn a_run_whose_failures_are_known_has_no_failures() {
        let text = render(&sample::record_with(&[Verdict::Passed, sample::known_failing()]));
        consistent(&text);
        assert!(text.contains("tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"1\""), "{text}");
    }

    #[test]
    fn a_run_without_a_verdict_is_never_green() {
        let not_applicable = Verdict::NotApplicable { reason: "why".into() };
        let given_up = {
            let mut record = Record::new("sample", 1);
            record.show(&crate::event::RunEvent::GivenUp("nobody <there>".into()));
            record
        };
        for record in [sample::record_with(&[]), sample::record_with(&[not_applicable]), given_up] {
            let text = render(&record);
            consistent(&text);
            assert!(text.contains("errors=\"1\"") && text.contains("NO VERDICT"), "{text}");
        }
    }

    #[test]
    fn a_conformant_run_has_neither_failures_nor_errors() {
        let text = render(&sample::record_with(&[Verdict::Passed, Verdict::Passed]));
        consistent(&text);
        assert!(text.contains("tests=\"2\" failures=\"0\" errors=\"0\""), "{text}");
    }
}
