//! The report for a pull request: the verdict, a short table, and the rest folded away.

use std::fmt::Write as _;

use super::summary;
use crate::{
    figure::Figure,
    results::Results,
    table::{Table, cell},
};

/// The whole text.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    let sign = if results.verdict.passed { "✅" } else { "❌" };
    let (name, target) = (cell(&results.scenario.name), cell(&results.environment.target));
    let _ = writeln!(text, "### {sign} {name} against {target}: {}\n", summary::verdict(results));
    let _ = writeln!(text, "{}.\n", cell(&summary::reason(results)));
    let mut figures = Table::new(["figure", "value"]);
    for figure in Figure::ALL {
        if let Some(value) = figure.of(results).filter(|_| figure.tells_more(results)) {
            let words = if figure == Figure::Rate { summary::things(results) } else { figure.words() };
            figures.row([words.to_owned(), figure.show(value)]);
        }
    }
    text.push_str(&figures.markdown());
    if !results.verdict.assertions.is_empty() {
        let mut table = Table::new(["assertion", "measured", ""]).ending_in_words();
        for assertion in &results.verdict.assertions {
            let word = if assertion.holds { "holds" } else { "fails" };
            table.row([assertion.text.clone(), assertion.actual.clone(), word.to_owned()]);
        }
        let _ = write!(text, "\n{}", table.markdown());
    }
    for warning in &results.warnings {
        let _ = writeln!(text, "\n> ⚠️ {}", cell(warning));
    }
    if let Some(table) = summary::growth_table(results) {
        let _ = write!(text, "\n{}", table.markdown());
    }
    if let Some(table) = summary::latency_table(results) {
        let _ = write!(text, "\n<details><summary>Latencies, load and machine</summary>\n\n{}", table.markdown());
        text.push('\n');
        for (name, value) in summary::rows(results) {
            let _ = writeln!(text, "- {name}: {}", cell(&value));
        }
        for (name, value) in summary::facts(results) {
            let _ = writeln!(text, "- {}: {}", cell(&name), cell(&value));
        }
        text.push_str("\n</details>\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_verdict_stands_first_and_the_figures_in_a_table() {
        let text = render(&sample::good());
        assert!(text.starts_with("### ✅ unicast against reference: PASSED\n"), "{text}");
        for row in ["| deliveries | 19,987/s |", "| latency p99 | 1.72 ms |", "| p99&lt;20ms | 1.72 ms | holds |"] {
            assert!(text.contains(row), "{row} in {text}");
        }
        let text = render(&sample::failed());
        assert!(text.starts_with("### ❌ fanout against"), "{text}");
        assert!(text.contains("| missing | 12 |") && text.contains("| 3.10 s | fails |"), "{text}");
    }

    #[test]
    fn text_of_the_targets_own_cannot_be_markup() {
        let text = render(&sample::failed());
        assert!(!text.contains("<script>") && text.contains("&lt;script&gt;"), "{text}");
    }
}
