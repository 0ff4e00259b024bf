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
    summary(&mut body, &areas);
    if !red.is_empty() {
        glance(&mut body, &red);
    }
    facts(&mut body, record);
    tools(&mut body, &areas);
    let grave = red.iter().filter(|tried| tried.ending() != Ending::KnownFailing);
    let open: Vec<_> = grave.take(OPEN_CASES).map(|tried| tried.case.id).collect();
    for area in &areas {
        self::area(&mut body, area, &open, record);
    }
    let title = format!("{}: {}", record.conformance().words(), record.environment.target);
    Page { title: &title, style: include_str!("report.css"), script: include_str!("report.js"), body: &body }.render()
}

fn is_red(tried: &Tried<'_>) -> bool {
    matches!(tried.ending(), Ending::Failed | Ending::NotRun | Ending::KnownFailing)
}

fn verdict(html: &mut String, record: &Record) {
    let class = match record.conformance() {
        Conformance::Conformant => "passed",
        Conformance::ConformantButKnown => "known-failing",
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
        let known = both(|count| count.known_failing);
        if known > 0 {
            tile(html, "known failing", &known.to_string());
        }
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
    for entry in record.stale() {
        let (link, owner, fault) = (link_in(record, &entry.id), text(&entry.owner), text(&entry.fault.to_string()));
        let _ = writeln!(html, "<p class=\"note failed\">Baseline: {link} (owner {owner}): {fault}</p>");
    }
    for (id, rate) in record.flaky() {
        let _ = writeln!(html, "<p class=\"note failed\">Flaky: {} {}</p>", link(id), text(&rate.to_string()));
    }
    if let Some(steadiness) = record.steadiness() {
        let _ = writeln!(html, "<p class=\"note plain\">Repeated {}.</p>", text(&steadiness));
    }
}

fn tile(html: &mut String, name: &str, value: &str) {
    let _ = write!(html, "<li><b>{value}</b> <span>{name}</span></li>");
}

/// Passed of what counts.
fn of(count: &Count) -> String {
    format!("{}/{}", count.passed, count.bound())
}

fn link(id: &str) -> String {
    format!("<a href=\"#{}\"><code>{}</code></a>", anchor(id), text(id))
}

/// A link to a case, where the page has it: a baseline may speak of one that was not in the run.
fn link_in(record: &Record, id: &str) -> String {
    if record.results.iter().any(|result| result.case.id == id) {
        link(id)
    } else {
        format!("<code>{}</code>", text(id))
    }
}

/// What did not pass, in a line each.
fn glance(html: &mut String, red: &[&Tried<'_>]) {
    html.push_str("<section aria-labelledby=\"red\"><h2 id=\"red\">What did not pass</h2>\n<ul class=\"glance\">\n");
    for tried in red {
        let why = match &tried.worst().verdict {
            Verdict::Failed { actual, .. } => format!("actual: {actual}"),
            Verdict::NotRun { reason } | Verdict::NotApplicable { reason } => reason.clone(),
            Verdict::KnownFailing { known, .. } => format!("known: {known}"),
            Verdict::Passed => continue,
        };
        let _ = writeln!(
            html,
            "<li>{} {} <span class=\"level\">{}</span> {}<div class=\"why\">{}</div></li>",
            tag(tried.ending()),
            link(tried.case.id),
            tried.case.level(),
            text(tried.case.title),
            text(&crate::text::shorten(&why, GLANCE).replace('\n', " "))
        );
    }
    html.push_str("</ul></section>\n");
}

fn summary(html: &mut String, areas: &[Area<'_>]) {
    html.push_str(
        "<section aria-labelledby=\"summary\"><h2 id=\"summary\">By area and level</h2>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th scope=\"col\">Area</th><th scope=\"col\" class=\"bar-column\"><span class=\"unseen\">Share</span></th>\
         <th scope=\"col\">MUST</th><th scope=\"col\">SHOULD</th><th scope=\"col\">known</th><th scope=\"col\">n/a</th><th scope=\"col\">not run</th></tr></thead>\n<tbody>\n",
    );
    for area in areas {
        let (must, should) = (area.count(Level::Must), area.count(Level::Should));
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td class=\"share\">",
            area.name,
            text(area.section)
        );
        bar(html, &area.tried);
        html.push_str("</td>");
        for count in [must, should] {
            let class = if count.failed > 0 { " class=\"red\"" } else { "" };
            let value = if count == Count::default() { "–".to_owned() } else { of(&count) };
            let _ = write!(html, "<td{class}>{value}</td>");
        }
        let (na, not_run) = (must.not_applicable + should.not_applicable, must.not_run + should.not_run);
        let known = must.known_failing + should.known_failing;
        let _ = writeln!(
            html,
            "<td>{known}</td><td>{na}</td><td{}>{not_run}</td></tr>",
            if not_run > 0 { " class=\"red\"" } else { "" }
        );
    }
    html.push_str("</tbody></table></div></section>\n");
}

/// One segment for each ending, as wide as it is frequent.
fn bar(html: &mut String, tried: &[Tried<'_>]) {
    html.push_str("<span class=\"bar\" aria-hidden=\"true\">");
    for ending in Ending::ALL.into_iter().rev() {
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
        Verdict::KnownFailing { expected, actual, known } => {
            value(html, "expected", expected);
            value(html, "actual", actual);
            value(html, "known", &known.to_string());
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
        Ending::KnownFailing => "known-failing",
        Ending::NotRun => "not-run",
        Ending::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node, ParsingOptions};

    use super::*;
    use crate::report::sample;

    /// The page is written so that it is XML as well, but for what stands in style and script.
    fn parsed(html: &str, look: impl Fn(&Document<'_>)) {
        let mut plain = html.to_owned();
        for element in ["style", "script"] {
            let (start, end) = (plain.find(&format!("<{element}")), plain.find(&format!("</{element}>")));
            let (start, end) = (start.expect("it begins"), end.expect("it ends"));
            plain.replace_range(start..end, &format!("<{element}>"));
        }
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let document = Document::parse_with_options(&plain, options).unwrap_or_else(|error| panic!("{error}"));
        look(&document);
    }

    fn words(node: Node<'_, '_>) -> String {
        node.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect()
    }

    #[test]
    fn each_case_is_there_with_sentence_values_transcript_and_command_and_nothing_breaks_out() {
        let record = sample::record_of(&sample::events());
        let html = render(&record);
        parsed(&html, |document| {
            let case = |id: &str| {
                let of_id = |node: &Node<'_, '_>| node.attribute("id") == Some(anchor(id).as_str());
                document.descendants().find(of_id).unwrap_or_else(|| panic!("{id} is there"))
            };
            for result in &record.results {
                let said = words(case(result.case.id));
                for part in [result.case.id, result.case.title, &result.case.sentence().text] {
                    assert!(said.contains(part), "{part} in {said}");
                }
                assert!(said.contains(&again(&result.case, "7f3a")), "{said}");
            }
            let failed = words(case("QUEUE-03/exactly-50"));
            for part in
                ["50 events, 1 … 50", "<script>alert('x')</script>", "XADD", "EVENT queued.events", "POST /events"]
            {
                assert!(failed.contains(part), "{part} in {failed}");
            }
            assert!(failed.contains("Turn 1 of 2") && !failed.contains("Turn 2 of 2"), "{failed}");
            assert_eq!(document.descendants().filter(|node| node.has_tag_name("script")).count(), 1);
        });
    }

    #[test]
    fn nothing_is_loaded_and_every_link_stays_on_the_page() {
        let html = render(&sample::record_of(&sample::events()));
        parsed(&html, |document| {
            let ids: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
            assert_eq!(ids.len(), ids.iter().collect::<std::collections::BTreeSet<_>>().len(), "ids are unique");
            for node in document.descendants().filter(Node::is_element) {
                for attribute in node.attributes() {
                    let name = attribute.name();
                    assert!(!["src", "srcset", "action", "data", "poster"].contains(&name), "{name} loads something");
                    assert!(!name.starts_with("on"), "{name} is a script");
                    if name == "href" {
                        let id = attribute.value().strip_prefix('#').expect("a link on the page");
                        assert!(ids.contains(&id), "{id} is there");
                    }
                }
            }
        });
        for loads in ["url(", "@import", "http://", "https://", "fetch(", "XMLHttpRequest"] {
            for file in [
                include_str!("page.css"),
                include_str!("report.css"),
                include_str!("page.js"),
                include_str!("report.js"),
            ] {
                assert!(!file.contains(loads), "{loads}");
            }
        }
        assert!(html.contains("default-src 'none'"));
    }

    #[test]
    fn what_is_known_what_is_stale_and_what_flakes_is_told() {
        let record = sample::record_of(&sample::events_with_baseline());
        parsed(&render(&record), |document| {
            let of_id = |id: &str| {
                let of_id = |node: &Node<'_, '_>| node.attribute("id") == Some(anchor(id).as_str());
                document.descendants().find(of_id).unwrap_or_else(|| panic!("{id} is there"))
            };
            let known = of_id("QUEUE-12/nothing");
            assert_eq!(known.attribute("data-ending"), Some("known-failing"));
            let said = words(known);
            for part in ["reason <script>", "owner team-b", "expires after 2026-12-31", "an event"] {
                assert!(said.contains(part), "{part} in {said}");
            }
            let notes =
                document.descendants().filter(|node| node.attribute("class").is_some_and(|it| it.contains("note")));
            let notes: Vec<_> = notes.map(words).collect();
            for part in [
                "Baseline: AUTH-08/expired",
                "the case passes: take the entry out",
                "Baseline: QUEUE-15/corrupt",
                "the entry expired after 2026-01-31",
                "Flaky: QUEUE-03/exactly-50 failed 1 of 2 runs (50 %",
                "Repeated 2 times, 1 flake in 4 runs: 25 %",
            ] {
                assert!(notes.iter().any(|note| note.contains(part)), "{part} in {notes:?}");
            }
        });
    }

    #[test]
    fn the_verdict_stands_at_the_top_whatever_it_is() {
        let mut given_up = Record::new("sample", 1);
        given_up.show(&crate::event::RunEvent::GivenUp("no server <answers>".into()));
        for (record, verdict, reason) in [
            (sample::record_with(&[Verdict::Passed]), "CONFORMANT", "has passed: 1 check."),
            (sample::record_of(&sample::events()), "NOT CONFORMANT", "1 of 4 checks failed: 1 MUST."),
            (
                sample::record_with(&[Verdict::Passed, sample::known_failing()]),
                "CONFORMANT BUT FOR WHAT IS KNOWN",
                "1 check passed, and 1 check failed as the baseline says.",
            ),
            (
                sample::record_of(&sample::events_with_baseline()),
                "NOT CONFORMANT",
                "2 baseline entries do not hold: AUTH-08/expired, QUEUE-15/corrupt. Another 2 checks failed as the baseline",
            ),
            (sample::record_with(&[sample::known_failing()]), "NO VERDICT", "Nothing passed: 1 check failed as the"),
            (sample::record_with(&[]), "NO VERDICT", "applies to this target"),
            (given_up, "NO VERDICT", "no server <answers>"),
        ] {
            parsed(&render(&record), |document| {
                let h1 = document.descendants().find(|node| node.has_tag_name("h1")).expect("a heading");
                assert_eq!(words(h1), verdict);
                let top = words(h1.parent().expect("the verdict"));
                assert!(top.contains(reason), "{reason} in {top}");
            });
        }
    }
}
