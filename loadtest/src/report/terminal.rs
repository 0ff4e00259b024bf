//! The report on the terminal: what was done, the figures, and the verdict last.

use std::fmt::Write as _;

use super::summary;
use crate::{results::Results, units::line};

/// The whole text.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    let environment = &results.environment;
    let _ = writeln!(
        text,
        "{} against {} ({})",
        results.scenario.name,
        line(&environment.target),
        line(&environment.store)
    );
    let _ = writeln!(text, "  {}", summary::load(results));
    if !environment.leaves_out.is_empty() {
        let _ = writeln!(text, "  it leaves out: {}", line(&environment.leaves_out.join(", ")));
    }
    for (name, value) in &results.scenario.further {
        let _ = writeln!(text, "  {}: {}", line(name), line(value));
    }
    text.push('\n');
    for (name, value) in summary::rows(results) {
        let _ = writeln!(text, "  {name:<13}  {value}");
    }
    for table in [summary::latency_table(results), summary::growth_table(results)].into_iter().flatten() {
        let _ = write!(text, "\n{}", table.text());
    }
    let assertions = &results.verdict.assertions;
    if !assertions.is_empty() {
        text.push('\n');
    }
    let widest = assertions.iter().map(|assertion| assertion.text.chars().count()).max().unwrap_or(0);
    for assertion in assertions {
        let word = if assertion.holds { "holds" } else { "FAILS" };
        let _ = writeln!(text, "  {word}  {:<widest$}  {}", line(&assertion.text), assertion.actual);
    }
    if !results.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &results.warnings {
        let _ = writeln!(text, "  warning  {}", line(warning));
    }
    let _ = writeln!(text, "\n{}: {}", summary::verdict(results), line(&summary::reason(results)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_verdict_is_the_last_line_and_says_why() {
        for (results, last) in [
            (sample::good(), "PASSED: 19,987/s deliveries, p99 1.72 ms, nothing missing, 2 of 2 assertions hold"),
            (sample::failed(), "FAILED: 12 deliveries are missing; p99<20ms: 3.10 s; missing==0: 12"),
        ] {
            assert_eq!(render(&results).lines().last(), Some(last));
        }
    }

    #[test]
    fn every_figure_is_there_with_its_unit() {
        let text = render(&sample::good());
        for part in [
            "unicast against reference (embedded)",
            "5,000 connections, open loop at 20,000/s, 300 bytes, 30 s after 5 s of warm-up",
            "599,610 expected, 599,610 delivered, 0 missing, 0 duplicated",
            "3.21 s for 100,000 deliveries",
            "29.0 KiB a connection",
            "41 % of 2 cores",
            "holds  missing==0  0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_left_out_rather_than_shown_as_nothing() {
        let text = render(&sample::elsewhere());
        assert!(!text.contains("server CPU") && !text.contains("server memory"), "{text}");
    }

    #[test]
    fn what_the_server_leaves_out_stands_below_its_name() {
        let mut results = sample::good();
        results.environment.leaves_out = vec!["no queue".into(), "no polling".into()];
        assert!(render(&results).contains("\n  it leaves out: no queue, no polling\n"));
    }

    #[test]
    fn a_run_in_steps_shows_each_and_which_broke_the_bound() {
        let text = render(&sample::growth());
        for part in ["1,000/s", "broken", "held", "warning"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
