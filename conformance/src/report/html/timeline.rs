//! A transcript as a list on one time line, each line decoded.

use std::fmt::Write as _;

use serde_json::Value;

use super::page::text;
use crate::{
    report::decode::{Decoded, decode},
    text::shorten,
    transcript::Line,
};

/// The longest body that stands in its line, in characters; a longer one unfolds.
const IN_LINE: usize = 180;

/// How much of a transcript is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// The first lines: how the case came about.
    pub(super) head: usize,
    /// The last: what went wrong.
    pub(super) tail: usize,
    /// Whether long bodies can be unfolded; otherwise they are cut.
    pub(super) unfolds: bool,
}

/// The list.
pub(super) fn render(html: &mut String, lines: &[Line], extent: Extent) {
    let skipped = lines.len().saturating_sub(extent.head + extent.tail);
    let head = if skipped == 0 { lines.len() } else { extent.head };
    html.push_str("<ol class=\"timeline\">\n");
    lines[..head].iter().for_each(|line| item(html, line, extent));
    if skipped > 0 {
        let _ = writeln!(
            html,
            "<li class=\"skipped\">{skipped} lines are left out here; --report json=FILE has all of a case that did not pass</li>"
        );
        lines[head + skipped..].iter().for_each(|line| item(html, line, extent));
    }
    html.push_str("</ol>\n");
}

fn item(html: &mut String, line: &Line, extent: Extent) {
    let Decoded { layer, what, body } = decode(line);
    let (way, arrow) = way(line);
    let at_ms = line.at_us / 1_000;
    let class = layer.replace(['.', ' '], "").to_lowercase();
    let _ = write!(
        html,
        "<li class=\"of-{class}\"><span class=\"at\">+{}.{:03}</span><span class=\"layer\">{layer}</span>\
         <span class=\"way\" title=\"{way}\"><span aria-hidden=\"true\">{arrow}</span><span class=\"unseen\"> {way}: </span></span>\
         <span class=\"said\">",
        at_ms / 1_000,
        at_ms % 1_000,
    );
    if !what.is_empty() {
        let _ = write!(html, "<b>{}</b> ", text(&what));
    }
    self::body(html, &body, extent.unfolds);
    html.push_str("</span></li>\n");
}

fn body(html: &mut String, body: &str, unfolds: bool) {
    let short = body.char_indices().nth(IN_LINE).is_none() && !body.contains('\n');
    if body.is_empty() {
    } else if short {
        let _ = write!(html, "<code>{}</code>", text(body));
    } else if unfolds {
        let beginning: String = body.chars().take(IN_LINE).map(|c| if c == '\n' { ' ' } else { c }).collect();
        let _ = write!(
            html,
            "<details class=\"long\"><summary><code>{}…</code></summary><pre>{}</pre></details>",
            text(&beginning),
            text(&pretty(body))
        );
    } else {
        let _ = write!(html, "<code>{}</code>", text(&shorten(body, IN_LINE).replace('\n', " ")));
    }
}

/// JSON is laid out; anything else stays as it is.
fn pretty(body: &str) -> String {
    let json = serde_json::from_str::<Value>(body).ok().filter(|value| value.is_array() || value.is_object());
    json.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| body.to_owned())
}

/// Who spoke to whom.
fn way(line: &Line) -> (&'static str, &'static str) {
    match (line.channel, line.direction) {
        ("redis", "←") => ("target to Redis", "⇢"),
        ("redis", "→") => ("Redis to target", "⇠"),
        ("proc", _) => ("said by the target", "·"),
        ("hook", "→") => ("suite to a command", "→"),
        ("hook", _) => ("command to suite", "←"),
        (_, "→") => ("suite to target", "→"),
        (_, "←") => ("target to suite", "←"),
        _ => ("remark", "·"),
    }
}
