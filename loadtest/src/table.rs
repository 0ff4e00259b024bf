//! Tables as aligned text and as Markdown. Knows nothing of what is in them.

use std::fmt::Write as _;

/// To which side a column keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// A head and rows; a row has as many cells as the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    head: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first column is words, and all others figures.
    pub fn new<'a>(head: impl IntoIterator<Item = &'a str>) -> Self {
        let side = |at| if at == 0 { Side::Left } else { Side::Right };
        let head = head.into_iter().enumerate().map(|(at, name)| (name.to_owned(), side(at))).collect();
        Self { head, rows: Vec::new() }
    }

    /// The same with words in this column, too, counted from 0.
    pub fn with_words_in(mut self, column: usize) -> Self {
        if let Some((_, side)) = self.head.get_mut(column) {
            *side = Side::Left;
        }
        self
    }

    /// The same with words in its last column, too.
    pub fn ending_in_words(self) -> Self {
        let last = self.head.len().saturating_sub(1);
        self.with_words_in(last)
    }

    /// Appends a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<_> = cells.into_iter().map(|cell| crate::units::line(&cell)).collect();
        cells.resize(self.head.len(), String::new());
        self.rows.push(cells);
    }

    /// The names of the columns, and whether words stand in them.
    pub fn head(&self) -> impl Iterator<Item = (&str, bool)> {
        self.head.iter().map(|(name, side)| (name.as_str(), *side == Side::Left))
    }

    /// The rows, each with as many cells as the head.
    pub fn rows(&self) -> impl Iterator<Item = &[String]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// The table for a terminal, each line indented by two spaces.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|at| self.rows.iter().map(|row| width(&row[at])).chain([width(&self.head[at].0)]).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = &String>| {
            let mut line = String::from(" ");
            for ((cell, (_, side)), &wide) in cells.zip(&self.head).zip(&widths) {
                // By hand: the format's own padding counts characters too, but not once a cell is wider.
                let space = " ".repeat(wide.saturating_sub(width(cell)));
                let _ = match side {
                    Side::Left => write!(line, " {cell}{space} "),
                    Side::Right => write!(line, " {space}{cell} "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(&mut self.head.iter().map(|(name, _)| name));
        self.rows.iter().for_each(|row| line(&mut row.iter()));
        text
    }

    /// The table in Markdown; what stands in a cell is text, and no markup.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        };
        line(&mut self.head.iter().map(|(name, _)| cell(name)));
        line(&mut self.head.iter().map(|(_, side)| if *side == Side::Left { "---" } else { "---:" }.to_owned()));
        self.rows.iter().for_each(|row| line(&mut row.iter().map(|text| cell(text))));
        text
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Text for Markdown, on one line, so that nothing in it is markup.
pub fn cell(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '@' => {
                clean.push('\\');
                clean.push(c);
            }
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '&' => clean.push_str("&amp;"),
            c if c.is_control() => clean.push(' '),
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["latency", "p50", "remark"]).ending_in_words();
        table.row(["delivery".into(), "850 µs".into(), "a|b".into()]);
        table.row(["emit".into(), "1.72 ms".into()]);
        table
    }

    #[test]
    fn figures_keep_to_the_right_and_words_to_the_left() {
        let lines: Vec<_> = table().text().lines().map(str::to_owned).collect();
        assert_eq!(lines, ["  latency       p50  remark", "  delivery   850 µs  a|b", "  emit      1.72 ms"]);
    }

    #[test]
    fn a_cell_cannot_break_out_of_markdown() {
        assert_eq!(
            table().markdown(),
            "| latency | p50 | remark |\n| --- | ---: | --- |\n| delivery | 850 µs | a\\|b |\n| emit | 1.72 ms |  |\n"
        );
        assert_eq!(cell("<b>`x`\n| @all"), "&lt;b&gt;\\`x\\` \\| \\@all");
    }
}
