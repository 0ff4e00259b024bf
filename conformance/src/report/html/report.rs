//! A run as one page: the verdict, a summary, and each case with its sentence, what was expected, what came, and how.

use std::fmt::Write as _;

use super::{
    page::{Page, anchor, text},
    timeline::{self, Extent},
};
use crate::{
    event::{CaseResult, Conformance, Count, Verdict},
    report::record::{Area, Ending, Record, Tried, again, seconds},
    spec::{self, Level},
};

/// The transcript of a case that did not pass.
const WHOLE: Extent = Extent { head: 60, tail: 240, unfolds: true };
/// Of one that did.
const EXCERPT: Extent = Extent { head: 10, tail: 14, unfolds: false };
/// A transcript of at most so many lines is open from the beginning.
const OPEN_LINES: usize = 40;
/// As many cases that did not pass are open from the beginning.
const OPEN_CASES: usize = 3;
/// The longest actual value in the list of what did not pass, in bytes.
const GLANCE: usize = 160;

/// The whole document.
pub fn render(record: &Record) -> String {
    let areas = record.areas();
    let red: Vec<_> = areas.iter().flat_map(|area| &area.tried).filter(|tried| is_red(tried)).collect();
    let mut body = String::new();
    verdict(&mut body, record);
    if !red.is_empty() {
        glance(&mut body, &red);
    }
    summary(&mut body, &areas);
    facts(&mut body, record);
    tools(&mut body, &areas);
    let open: Vec<_> = red.iter().take(OPEN_CASES).map(|tried| tried.case.id).collect();
    for area in &areas {
        self::area(&mut body, area, &open, record);
    }
    let title = format!("{}: {}", record.conformance().words(), record.environment.target);
    Page { title: &title, style: include_str!("report.css"), script: include_str!("report.js"), body: &body }.render()
}

fn is_red(tried: &Tried<'_>) -> bool {
    matches!(tried.ending(), Ending::Failed | Ending::NotRun)
}

fn verdict(html: &mut String, record: &Record) {
    let class = match record.conformance() {
        Conformance::Conformant => "passed",
        Conformance::NotConformant => "failed",
        Conformance::Inconclusive => "not-run",
    };
    let (words, reason) = (record.conformance().words(), record.reason());
    let _ = writeln!(
        html,
        "<header class=\"verdict {class}\"><p class=\"target\">{}</p><h1>{words}</h1><p class=\"reason\">{}</p>",
        text(&record.environment.target),
        text(&reason)
    );
    if let Some(summary) = &record.summary {
        let both = |part: fn(&Count) -> usize| part(&summary.must) + part(&summary.should);
        html.push_str("<ul class=\"tiles\">");
        tile(html, "MUST", &of(&summary.must));
        tile(html, "SHOULD", &of(&summary.should));
        tile(html, "not applicable", &both(|count| count.not_applicable).to_string());
        tile(html, "not run", &both(|count| count.not_run).to_string());
        tile(html, "time", &seconds(summary.took));
        html.push_str("</ul>\n");
    }
    html.push_str("</header>\n");
    for remark in &record.remarks {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", text(remark));
    }
    let Some(summary) = &record.summary else { return };
    if summary.deselected > 0 {
        let _ = writeln!(
            html,
            "<p class=\"note\">{} cases were left out by the selection: the verdict is on the rest.</p>",
            summary.deselected
        );
    }
    if !summary.flaky.is_empty() {
        let flaky: Vec<_> = summary.flaky.iter().map(|id| link(id)).collect();
        let _ =
            writeln!(html, "<p class=\"note\">Flaky, with different ends in different turns: {}</p>", flaky.join(", "));
    }
}

fn tile(html: &mut String, name: &str, value: &str) {
    let _ = write!(html, "<li><b>{value}</b> <span>{name}</span></li>");
}

/// Passed of what counts.
fn of(count: &Count) -> String {
    format!("{}/{}", count.passed, count.passed + count.failed + count.not_run)
}

fn link(id: &str) -> String {
    format!("<a href=\"#{}\"><code>{}</code></a>", anchor(id), text(id))
}

/// What did not pass, in a line each.
fn glance(html: &mut String, red: &[&Tried<'_>]) {
    html.push_str("<section aria-labelledby=\"red\"><h2 id=\"red\">What did not pass</h2>\n<ul class=\"glance\">\n");
    for tried in red {
        let why = match &tried.worst().verdict {
            Verdict::Failed { actual, .. } => actual,
            Verdict::NotRun { reason } | Verdict::NotApplicable { reason } => reason,
            Verdict::Passed => continue,
        };
        let _ = writeln!(
            html,
            "<li>{} {} <span class=\"level\">{}</span> {}<br/><span class=\"why\">{}</span></li>",
            tag(tried.ending()),
            link(tried.case.id),
            tried.case.level(),
            text(tried.case.title),
            text(&crate::transcript::shorten(why, GLANCE).replace('\n', " "))
        );
    }
    html.push_str("</ul></section>\n");
}

fn summary(html: &mut String, areas: &[Area<'_>]) {
    html.push_str(
        "<section aria-labelledby=\"summary\"><h2 id=\"summary\">By area and level</h2>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th scope=\"col\">Area</th><th scope=\"col\" class=\"bar-column\"><span class=\"unseen\">Share</span></th>\
         <th scope=\"col\">MUST</th><th scope=\"col\">SHOULD</th><th scope=\"col\">n/a</th><th scope=\"col\">not run</th></tr></thead>\n<tbody>\n",
    );
    for area in areas {
        let (must, should) = (area.count(Level::Must), area.count(Level::Should));
        let _ = write!(html, "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td>", area.name, text(area.section));
        bar(html, &area.tried);
        html.push_str("</td>");
        for count in [must, should] {
            let class = if count.failed > 0 { " class=\"red\"" } else { "" };
            let value = if count == Count::default() { "–".to_owned() } else { of(&count) };
            let _ = write!(html, "<td{class}>{value}</td>");
        }
        let (na, not_run) = (must.not_applicable + should.not_applicable, must.not_run + should.not_run);
        let _ =
            writeln!(html, "<td>{na}</td><td{}>{not_run}</td></tr>", if not_run > 0 { " class=\"red\"" } else { "" });
    }
    html.push_str("</tbody></table></div></section>\n");
}

/// One segment for each ending, as wide as it is frequent.
fn bar(html: &mut String, tried: &[Tried<'_>]) {
    html.push_str("<span class=\"bar\" aria-hidden=\"true\">");
    for ending in [Ending::Passed, Ending::NotApplicable, Ending::NotRun, Ending::Failed] {
        let count = tried.iter().filter(|tried| tried.ending() == ending).count();
        if count > 0 {
            let _ = write!(html, "<span class=\"{}\" style=\"flex-grow:{count}\"></span>", class(ending));
        }
    }
    html.push_str("</span>");
}

fn facts(html: &mut String, record: &Record) {
    let environment = &record.environment;
    html.push_str("<details class=\"facts\"><summary>Target, environment and seed</summary><dl>\n");
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", text(name), text(value));
        }
    };
    fact("target", &environment.target);
    fact("address", &environment.url);
    fact("declares", &environment.capabilities.join(", "));
    for (part, what, took) in &record.ground {
        fact(part, &format!("{what} (ready after {})", seconds(*took)));
    }
    fact("seed", &environment.seed);
    fact("began", &record.began_text());
    fact("suite", &format!("notify-conformance {} on {}", env!("CARGO_PKG_VERSION"), environment.system));
    html.push_str("</dl></details>\n");
}

fn tools(html: &mut String, areas: &[Area<'_>]) {
    html.push_str(
        "<form class=\"tools needs-script\" role=\"search\"><label for=\"search\" class=\"unseen\">Search the cases</label>\
         <input type=\"search\" id=\"search\" placeholder=\"Search: id, sentence, text of a transcript\" autocomplete=\"off\"/>\
         <fieldset><legend class=\"unseen\">Show</legend>",
    );
    for ending in Ending::ALL {
        let count = areas.iter().flat_map(|area| &area.tried).filter(|tried| tried.ending() == ending).count();
        if count > 0 {
            let _ = write!(
                html,
                "<label class=\"chip {0}\"><input type=\"checkbox\" name=\"ending\" value=\"{0}\" checked=\"\"/> {1} <b>{count}</b></label>",
                class(ending),
                ending.words()
            );
        }
    }
    html.push_str(
        "</fieldset><output id=\"shown\" aria-live=\"polite\"></output>\
         <button type=\"button\" id=\"unfold\">Open all</button><button type=\"button\" id=\"fold\">Close all</button></form>\n",
    );
}

fn area(html: &mut String, area: &Area<'_>, open: &[&str], record: &Record) {
    let _ = writeln!(html, "<section class=\"area\" id=\"{}\"><h2>{}</h2>", area.name, text(area.section));
    for tried in &area.tried {
        case(html, tried, open.contains(&tried.case.id), record);
    }
    html.push_str("</section>\n");
}

fn case(html: &mut String, tried: &Tried<'_>, open: bool, record: &Record) {
    let case = tried.case;
    let ending = tried.ending();
    let share = tried.share().map(|share| format!(" <span class=\"level\">{share}</span>")).unwrap_or_default();
    let _ = writeln!(
        html,
        "<details class=\"case {}\" data-ending=\"{0}\" id=\"{}\"{}><summary>{} <code class=\"id\">{}</code> \
         <span class=\"level\">{}</span>{share} <span class=\"title\">{}</span> <span class=\"took\">{}</span></summary>",
        class(ending),
        anchor(case.id),
        if open { " open=\"\"" } else { "" },
        tag(ending),
        text(case.id),
        case.level(),
        text(case.title),
        seconds(tried.took()),
    );
    for id in case.sentences() {
        if let Some(sentence) = spec::sentence(id) {
            let _ = writeln!(
                html,
                "<blockquote><cite>SPEC {} {}</cite> {}</blockquote>",
                text(&sentence.id),
                sentence.level,
                text(&sentence.text)
            );
        }
    }
    // Each turn that did not pass tells something of its own; those that did tell the same.
    let (passed, rest): (Vec<_>, Vec<_>) = tried.turns.iter().partition(|turn| turn.verdict == Verdict::Passed);
    let shown = if rest.is_empty() { passed.into_iter().take(1).collect() } else { rest };
    for result in shown {
        turn(html, result, tried.turns.len());
    }
    let command = text(&again(case, &record.environment.seed));
    let _ = writeln!(
        html,
        "<p class=\"again\"><span>again:</span> <code>{command}</code> \
         <button type=\"button\" class=\"copy needs-script\" data-copy=\"{command}\">Copy</button></p>\n</details>"
    );
}

fn turn(html: &mut String, result: &CaseResult, turns: usize) {
    if turns > 1 {
        let _ = writeln!(html, "<h3>Turn {} of {turns}</h3>", result.turn);
    }
    html.push_str("<dl class=\"values\">");
    match &result.verdict {
        Verdict::Failed { expected, actual } => {
            value(html, "expected", expected);
            value(html, "actual", actual);
        }
        Verdict::Passed => {
            value(html, "expected", result.case.title);
            value(html, "actual", "as expected");
        }
        Verdict::NotRun { reason } | Verdict::NotApplicable { reason } => value(html, "because", reason),
    }
    html.push_str("</dl>\n");
    if result.transcript.is_empty() {
        return;
    }
    let passed = result.verdict == Verdict::Passed;
    let open = !passed && result.transcript.len() <= OPEN_LINES;
    let _ = writeln!(
        html,
        "<details class=\"transcript\"{}><summary>Transcript, {} lines</summary>",
        if open { " open=\"\"" } else { "" },
        result.transcript.len()
    );
    timeline::render(html, &result.transcript, if passed { EXCERPT } else { WHOLE });
    html.push_str("</details>\n");
}

fn value(html: &mut String, name: &str, value: &str) {
    let _ = write!(html, "<div class=\"{name}\"><dt>{name}</dt><dd><pre>{}</pre></dd></div>", text(value));
}

fn tag(ending: Ending) -> String {
    format!("<span class=\"tag {}\">{}</span>", class(ending), ending.words())
}

fn class(ending: Ending) -> &'static str {
    match ending {
        Ending::Passed => "passed",
        Ending::NotApplicable => "not-applicable",
        Ending::NotRun => "not-run",
        Ending::Failed => "failed",
    }
}
