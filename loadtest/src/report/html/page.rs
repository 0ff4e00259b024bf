//! The page: the verdict, the charts, and every figure in a table.

use std::fmt::Write as _;

use notify_conformance::report::html::page::{Page, text};

use super::charts;
use crate::{figure::Figure, report::summary, results::Results, table::Table};

/// The whole document.
pub fn render(results: &Results) -> String {
    let mut body = String::new();
    verdict(&mut body, results);
    assertions(&mut body, results);
    part(&mut body, "Growth", summary::growth_table(results).as_ref(), &charts::growth(results));
    let latency = summary::latency_table(results);
    let charts: Vec<_> = charts::percentiles(results).into_iter().chain(charts::over_time(results)).collect();
    part(&mut body, "Latency, rate and cost", latency.as_ref(), &charts);
    list(&mut body, "All counts", summary::rows(results).into_iter().map(|(name, value)| (name.to_owned(), value)));
    list(&mut body, "Where and how it was measured", summary::facts(results));
    let title =
        format!("{}: {} against {}", summary::verdict(results), results.scenario.name, results.environment.target);
    Page { title: &title, style: include_str!("load.css"), script: "", body: &body }.written_by("notify-load")
}

fn verdict(html: &mut String, results: &Results) {
    let class = if results.verdict.passed { "passed" } else { "failed" };
    let _ = writeln!(
        html,
        "<header class=\"verdict {class}\"><p class=\"target\">{} against {}: {}</p><h1>{}</h1><p class=\"reason\">{}</p><ul class=\"tiles\">",
        text(&results.scenario.name),
        text(&results.environment.target),
        text(&summary::load(results)),
        summary::verdict(results),
        text(&summary::reason(results))
    );
    for figure in [
        Figure::Rate,
        Figure::P50,
        Figure::P99,
        Figure::P999,
        Figure::Missing,
        Figure::CpuPer100k,
        Figure::RssPerConnection,
        Figure::IdleCpu,
        Figure::KernelPerConnection,
    ] {
        if let Some(value) = figure.of(results) {
            let words = if figure == Figure::Rate { summary::things(results) } else { figure.words() };
            let _ = write!(html, "<li><b>{}</b> <span>{words}</span></li>", figure.show(value));
        }
    }
    html.push_str("</ul></header>\n");
    for warning in &results.warnings {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", text(warning));
    }
}

fn assertions(html: &mut String, results: &Results) {
    if results.verdict.assertions.is_empty() {
        return;
    }
    html.push_str("<h2>Assertions</h2><div class=\"scroll\"><table><thead><tr><th>asserted</th><th>measured</th><th></th></tr></thead><tbody>\n");
    for assertion in &results.verdict.assertions {
        let (class, word) = if assertion.holds { ("passed", "holds") } else { ("failed", "fails") };
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td><span class=\"tag {class}\">{word}</span></td></tr>",
            text(&assertion.text),
            text(&assertion.actual)
        );
    }
    html.push_str("</tbody></table></div>\n");
}

/// A table with its charts, where there are any.
fn part(html: &mut String, title: &str, table: Option<&Table>, charts: &[super::svg::Chart]) {
    if table.is_none() && charts.is_empty() {
        return;
    }
    let _ = writeln!(html, "<h2>{title}</h2>");
    if let Some(table) = table {
        let _ = writeln!(
            html,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\">{}</div>",
            self::table(table)
        );
    }
    html.push_str("<div class=\"charts\">\n");
    charts.iter().for_each(|chart| chart.render(html));
    html.push_str("</div>\n");
}

fn table(table: &Table) -> String {
    let mut html = String::from("<table><thead><tr>");
    for (name, words) in table.head() {
        let class = if words { " class=\"words\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", text(name));
    }
    html.push_str("</tr></thead><tbody>");
    for row in table.rows() {
        html.push_str("<tr>");
        for (at, (cell, words)) in row.iter().zip(table.head().map(|(_, words)| words)).enumerate() {
            let _ = match (at, words) {
                (0, _) => write!(html, "<th scope=\"row\">{}</th>", text(cell)),
                (_, true) => write!(html, "<td class=\"words\">{}</td>", text(cell)),
                (_, false) => write!(html, "<td>{}</td>", text(cell)),
            };
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
    html
}

fn list(html: &mut String, title: &str, facts: impl IntoIterator<Item = (String, String)>) {
    let _ = write!(html, "<details class=\"facts\" open=\"\"><summary>{title}</summary><dl>");
    for (name, value) in facts {
        let _ = write!(html, "<div><dt>{}</dt><dd>{}</dd></div>", text(&name), text(&value));
    }
    html.push_str("</dl></details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_page_has_verdict_charts_and_every_table() {
        let page = render(&sample::good());
        for part in [
            "<h1>PASSED</h1>",
            "Latency by percentile",
            "Latency over time",
            "Rate over time",
            "CPU over time",
            "Memory of the server",
            "p99&lt;20ms",
            "599,610 delivered, 0 missing",
            "3.21 s for 100,000 deliveries",
            "Some Processor 3000",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("Growth") && render(&sample::growth()).contains("<h2>Growth</h2>"));
    }

    #[test]
    fn a_page_of_a_server_elsewhere_has_no_chart_of_what_is_not_known() {
        let page = render(&sample::elsewhere());
        assert!(!page.contains("Memory of the server") && page.contains("CPU over time"));
        assert!(!page.contains("server memory per connection"));
    }

    #[test]
    fn text_of_the_targets_own_cannot_break_out_and_nothing_is_loaded() {
        let page = render(&sample::failed());
        assert!(page.contains("<h1>FAILED</h1>") && page.contains("12 deliveries are missing"));
        assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert"));
        for loads in ["src=", "href=\"http", "url(", "@import"] {
            assert!(!page.contains(loads), "{loads}");
        }
    }
}
