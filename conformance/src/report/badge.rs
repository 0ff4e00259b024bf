//! The verdict as a picture for a README: SVG that loads nothing and needs no font of its own.

use super::{record::Record, xml::escape};
use crate::event::{Conformance, Count};

/// The average width of a character of the picture's font, in tenths of a pixel; the text is stretched to fit exactly.
const CHARACTER: usize = 63;
/// The room at each end of a text.
const MARGIN: usize = 7;
/// The text on the left.
const SUBJECT: &str = "conformance";

/// The whole picture.
pub fn render(record: &Record) -> String {
    let (verdict, colour) = match record.conformance() {
        Conformance::Conformant => ("conformant", "#2a6f3c"),
        Conformance::ConformantButKnown => ("conformant but for known failures", "#4d6b1e"),
        Conformance::NotConformant => ("not conformant", "#a6282b"),
        Conformance::Inconclusive => ("no verdict", "#6b5b1e"),
    };
    let verdict = format!("{verdict}{}", counts(record));
    let (left, right) = (width(SUBJECT), width(&verdict));
    let (left_text, right_text) = (left - 2 * MARGIN, right - 2 * MARGIN);
    let (left_middle, right_middle) = (left / 2, left + right / 2);
    let all = left + right;
    let verdict = escape(&verdict);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{all}" height="20" viewBox="0 0 {all} 20" role="img" aria-label="{SUBJECT}: {verdict}">
  <title>{SUBJECT}: {verdict}</title>
  <clipPath id="round"><rect width="{all}" height="20" rx="3"/></clipPath>
  <g clip-path="url(#round)">
    <rect width="{left}" height="20" fill="#3c4048"/>
    <rect x="{left}" width="{right}" height="20" fill="{colour}"/>
  </g>
  <g fill="#fff" font-family="Verdana, DejaVu Sans, Geneva, sans-serif" font-size="11" text-anchor="middle">
    <text x="{left_middle}" y="14" textLength="{left_text}">{SUBJECT}</text>
    <text x="{right_middle}" y="14" textLength="{right_text}">{verdict}</text>
  </g>
</svg>
"##
    )
}

/// ` 121/123`: what passed of what counts.
fn counts(record: &Record) -> String {
    let Some(summary) = &record.summary else { return String::new() };
    let sum = |part: fn(&Count) -> usize| part(&summary.must) + part(&summary.should);
    format!(" {}/{}", sum(|count| count.passed), sum(Count::bound))
}

fn width(text: &str) -> usize {
    text.chars().count() * CHARACTER / 10 + 2 * MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Verdict, report::sample};

    #[test]
    fn each_verdict_has_its_words_and_counts_and_loads_nothing() {
        let failed = Verdict::Failed { expected: "a".into(), actual: "b".into() };
        let not_run = Verdict::NotRun { reason: "why".into() };
        let known = sample::known_failing();
        for (verdicts, words) in [
            (vec![Verdict::Passed, Verdict::Passed], "conformance: conformant 2/2"),
            (vec![Verdict::Passed, failed], "conformance: not conformant 1/2"),
            (vec![Verdict::Passed, known.clone()], "conformance: conformant but for known failures 1/2"),
            (vec![known], "conformance: no verdict 0/1"),
            (vec![Verdict::Passed, not_run], "conformance: no verdict 1/2"),
        ] {
            let text = render(&sample::record_with(&verdicts));
            let document = roxmltree::Document::parse(&text).expect("it is XML");
            assert_eq!(document.root_element().attribute("aria-label"), Some(words));
            assert!(!text.contains("href") && text.matches("http").count() == 1, "only the name of SVG itself");
        }
        assert!(render(&Record::new("sample", 1)).contains("no verdict<"), "a run that was given up has no counts");
    }
}
