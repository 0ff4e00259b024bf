//! The page of a site: a table of sentences by implementations.

use std::fmt::Write;

use super::{Cell, Implementation, Row, Table};
use crate::{
    compare::read::State,
    event::Conformance,
    report::html::page::{Page, anchor, text},
    spec::Level,
};

/// Class, sign and words: nothing is told by colour alone.
fn shown(state: Option<State>) -> (&'static str, &'static str, &'static str) {
    match state {
        Some(State::Passed) => ("passed", "●", "held"),
        Some(State::Failed) => ("failed", "✕", "broken"),
        Some(State::Flaky) => ("failed", "≈", "held now and then"),
        Some(State::KnownFailing) => ("known-failing", "◐", "known to be broken"),
        Some(State::NotRun) => ("not-run", "?", "could not be looked into"),
        Some(State::NotApplicable) => ("not-applicable", "–", "does not apply"),
        None => ("", "", "not asked"),
    }
}

const STATES: [State; 6] =
    [State::Passed, State::Failed, State::Flaky, State::KnownFailing, State::NotRun, State::NotApplicable];

/// The whole page.
pub(super) fn render(table: &Table) -> String {
    let mut body = String::from(
        "<h1>Who holds what</h1>\n<p>Each server as a run of the suite has found it. A sentence is held where every case about it has passed.</p>\n",
    );
    implementations(&mut body, table);
    legend(&mut body);
    sentences(&mut body, table);
    let (style, script) = (include_str!("page.css"), include_str!("page.js"));
    Page { title: "Who holds what", style, script, body: &body }.render()
}

fn implementations(html: &mut String, table: &Table) {
    html.push_str("<ul class=\"servers\">\n");
    for (n, it) in table.implementations.iter().enumerate() {
        let Implementation { name, suite, conformance, json, html: page } = it;
        let count = |level: Level| {
            let cells =
                table.rows.iter().filter(|row| row.sentence.level == level).filter_map(|row| row.cells[n].as_ref());
            let states: Vec<_> = cells.map(|cell| cell.state).filter(|state| *state != State::NotApplicable).collect();
            let held = states.iter().filter(|state| **state == State::Passed).count();
            format!("<b>{held}/{}</b> {level}", states.len())
        };
        let class = match conformance {
            Conformance::Conformant => "passed",
            Conformance::ConformantButKnown => "known-failing",
            Conformance::NotConformant => "failed",
            Conformance::Inconclusive => "not-run",
        };
        let page = page.as_ref().map(|page| format!("<a href=\"{page}\">its page</a>, ")).unwrap_or_default();
        let _ = writeln!(
            html,
            "<li class=\"verdict {class}\"><h2>{}</h2><p class=\"word\">{}</p><p>{} · {}</p><p class=\"faint\">{page}<a href=\"{json}\">report</a>, by suite {}</p></li>",
            text(name),
            conformance.words(),
            count(Level::Must),
            count(Level::Should),
            text(suite),
        );
    }
    html.push_str("</ul>\n");
}

fn legend(html: &mut String) {
    html.push_str("<p class=\"legend\">");
    for state in STATES {
        let (class, sign, words) = shown(Some(state));
        let _ = write!(html, "<span><i class=\"{class}\">{sign}</i> {words}</span> ");
    }
    html.push_str(
        "</p>\n<p class=\"needs-script\"><label><input type=\"checkbox\" id=\"apart\"/> only what somebody does not hold</label></p>\n",
    );
}

fn sentences(html: &mut String, table: &Table) {
    html.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Sentences by server\"><table class=\"held\"><thead><tr><th scope=\"col\">sentence</th>");
    for it in &table.implementations {
        let _ = write!(html, "<th scope=\"col\">{}</th>", text(&it.name));
    }
    html.push_str("</tr></thead>\n");
    for section in table.rows.chunk_by(|one, next| one.sentence.section == next.sentence.section) {
        let first = section[0].sentence;
        let class = if section.iter().all(|row| is_alike(&row.cells)) { " class=\"alike\"" } else { "" };
        let _ = writeln!(
            html,
            "<tbody{class}><tr class=\"section\"><th scope=\"rowgroup\" colspan=\"{}\">{} <span class=\"faint\">{}</span></th></tr>",
            table.implementations.len() + 1,
            text(&first.section),
            first.profile,
        );
        section.iter().for_each(|row| sentence(html, row));
        html.push_str("</tbody>\n");
    }
    html.push_str("</table></div>\n");
}

fn sentence(html: &mut String, Row { sentence, cells }: &Row) {
    let class = if is_alike(cells) { " class=\"alike\"" } else { "" };
    let _ = write!(
        html,
        "<tr id=\"{}\"{class}><th scope=\"row\"><code>{}</code> <span class=\"faint\">{}</span> <span class=\"says\">{}</span></th>",
        anchor(&sentence.id),
        text(&sentence.id),
        sentence.level,
        text(&sentence.text),
    );
    for cell in cells {
        let (class, sign, words) = shown(cell.as_ref().map(|cell| cell.state));
        let cases = cell.as_ref().map(|cell| text(&cell.cases.join(", "))).unwrap_or_default();
        let _ =
            write!(html, "<td class=\"{class}\" title=\"{cases}\">{sign}<span class=\"unseen\"> {words}</span></td>");
    }
    html.push_str("</tr>\n");
}

/// Whether nobody needs to look: all that it applies to hold it.
fn is_alike(cells: &[Option<Cell>]) -> bool {
    let told = cells.iter().flatten().map(|cell| cell.state).filter(|state| *state != State::NotApplicable);
    told.into_iter().all(|state| state == State::Passed)
}
