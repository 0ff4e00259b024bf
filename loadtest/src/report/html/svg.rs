//! A chart of lines as inline SVG: no script, colours from the page's theme, and no line told by colour alone.

use std::fmt::Write as _;

use notify_conformance::report::html::page::text;

use super::scale::Scale;

/// The drawing, in its own units; the page scales it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 46.0;

/// One axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// How values lie.
    pub(super) scale: Scale,
    /// A value in words.
    pub(super) show: fn(f64) -> String,
}

/// One line; where there is no value, it is broken.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its name.
    pub(super) name: &'static str,
    /// Its points, from left to right.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A chart.
#[derive(Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: &'static str,
    /// What lies along the horizontal axis.
    pub(super) along: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// Whether each point has a mark of its own: there are few of them.
    pub(super) marked: bool,
}

impl Chart {
    /// The figure; nothing where no line has a point.
    pub(super) fn render(&self, html: &mut String) {
        let lines: Vec<_> =
            self.lines.iter().filter(|line| line.points.iter().any(|point| point.1.is_some())).collect();
        if lines.is_empty() {
            return;
        }
        let _ =
            write!(html, "<figure class=\"chart\"><figcaption>{}</figcaption><p class=\"legend\">", text(self.title));
        for (at, line) in lines.iter().enumerate() {
            let _ = write!(
                html,
                "<span><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"line l{at}\" d=\"M1 5H27\"/></svg>{}</span>",
                text(line.name)
            );
        }
        let _ = write!(
            html,
            "</p><svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            text(self.title)
        );
        self.grid(html);
        for (at, line) in lines.iter().enumerate() {
            self.line(html, at, line);
        }
        self.touches(html, &lines);
        html.push_str("</svg></figure>\n");
    }

    fn left(&self, x: f64) -> f64 {
        LEFT + self.x.scale.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn top(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, html: &mut String) {
        let (right, foot) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for mark in self.y.scale.marks() {
            let y = self.top(mark);
            let _ = write!(
                html,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.5,
                text(&short(&(self.y.show)(mark)))
            );
        }
        // Marks whose names would run into each other go without.
        let mut free = 0.0;
        for mark in self.x.scale.marks() {
            let x = self.left(mark);
            let _ = write!(html, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{foot}\"/>");
            if x >= free {
                let name = short(&(self.x.show)(mark));
                let _ = write!(
                    html,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    foot + 19.0,
                    text(&name)
                );
                free = x + name.chars().count() as f64 * 9.0 + 6.0;
            }
        }
        let middle = f64::midpoint(LEFT, right);
        let _ = write!(
            html,
            "<text class=\"along\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 6.0,
            text(self.along)
        );
    }

    fn line(&self, html: &mut String, at: usize, line: &Line) {
        let mut path = String::new();
        let mut dots = String::new();
        let mut before = false;
        for (index, &(x, y)) in line.points.iter().enumerate() {
            let Some(y) = y else {
                before = false;
                continue;
            };
            let (left, top) = (self.left(x), self.top(y));
            let _ = write!(path, "{}{left:.1} {top:.1}", if before { 'L' } else { 'M' });
            let alone = !before && line.points.get(index + 1).is_none_or(|next| next.1.is_none());
            if self.marked || alone {
                let _ = write!(dots, "<circle class=\"dot l{at}\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"3.5\"/>");
            }
            before = true;
        }
        let _ = write!(html, "<path class=\"line l{at}\" d=\"{path}\"/>{dots}");
    }

    /// A strip for each place along the axis, which tells the values under the pointer.
    fn touches(&self, html: &mut String, lines: &[&Line]) {
        let Some(longest) = lines.iter().map(|line| &line.points).max_by_key(|points| points.len()) else { return };
        let shared = lines.iter().all(|line| {
            line.points.len() == longest.len() && line.points.iter().zip(longest).all(|(a, b)| (a.0 - b.0).abs() < 1e-9)
        });
        if !shared {
            return;
        }
        for (at, &(x, _)) in longest.iter().enumerate() {
            let here = self.left(x);
            let from = at.checked_sub(1).map_or(LEFT, |before| f64::midpoint(self.left(longest[before].0), here));
            let to = longest.get(at + 1).map_or(WIDTH - RIGHT, |next| f64::midpoint(self.left(next.0), here));
            let mut told = (self.x.show)(x);
            for line in lines {
                let value = line.points[at].1.map_or_else(|| "nothing".to_owned(), self.y.show);
                let _ = write!(told, "\n{}: {value}", line.name);
            }
            let _ = write!(
                html,
                "<rect class=\"touch\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                (to - from).max(0.1),
                HEIGHT - TOP - BOTTOM,
                text(&told)
            );
        }
    }
}

/// A round number as one says it: `5 ms` for `5.00 ms`.
fn short(text: &str) -> String {
    let (number, unit) = text.split_at(text.find([' ', '/']).unwrap_or(text.len()));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>) -> String {
        let axis = |to| Axis { scale: Scale::Linear { to }, show: |value| format!("{value:.0} <u>") };
        let line = |name| Line { name, points: points.clone() };
        let mut html = String::new();
        let (x, y) = (axis(10.0), axis(100.0));
        Chart { title: "t", along: "a", x, y, lines: vec![line("one"), line("two")], marked: false }.render(&mut html);
        html
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_value_and_a_lonely_point_is_seen() {
        let html = chart(vec![(1.0, Some(1.0)), (2.0, Some(2.0)), (3.0, None), (4.0, Some(4.0)), (5.0, None)]);
        let path =
            html.split("class=\"plot\"").nth(1).and_then(|it| it.split("line l0\" d=\"").nth(1)).expect("a line");
        let path = path.split('"').next().expect("its path");
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert_eq!(html.matches("<circle").count(), 2, "one for each line");
        assert!(html.contains("4 &lt;u&gt;\none: 4 &lt;u&gt;\ntwo: 4") && html.contains("one: nothing"), "{html}");
        assert!(!html.contains("<u>"));
    }

    #[test]
    fn a_mark_has_no_idle_zeros() {
        assert_eq!(
            ["5.00 ms", "10.0 ms", "500 µs", "0.50 s", "20,000/s", "50.0/s"].map(short),
            ["5 ms", "10 ms", "500 µs", "0.5 s", "20,000/s", "50/s"]
        );
    }

    #[test]
    fn there_is_no_chart_of_nothing() {
        assert_eq!(chart(vec![(1.0, None)]), "");
    }
}
