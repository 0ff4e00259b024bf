//! Text for people: an error with its causes, and what is too long, cut. Knows nothing of what it says.

use std::fmt::Write as _;

/// How a text that was cut goes on.
pub(crate) const CUT: &str = "… (";

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// `text`, cut at `limit` bytes with a count of what is missing.
pub fn shorten(text: &str, limit: usize) -> String {
    cut(text, limit, text.len())
}

/// `text`, cut at `limit` bytes with a count of what is missing of `total`.
pub fn cut(text: &str, limit: usize, total: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit);
    let mut short = text[..end].to_owned();
    let _ = write!(short, "{CUT}{} more bytes)", total.saturating_sub(end));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_a_character_boundary() {
        assert_eq!(shorten("ääää", 3), "ä… (6 more bytes)");
    }
}
