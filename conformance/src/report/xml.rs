//! Text inside XML 1.0 and inside HTML. Knows nothing of documents.

/// `text` for the content of an element or for an attribute between double quotes: what has a meaning of its own is escaped,
/// line ends survive, and characters that no document may hold become visible ones.
pub fn escape(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => clean.push_str("&amp;"),
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '"' => clean.push_str("&quot;"),
            '\'' => clean.push_str("&#39;"),
            _ => clean.push(visible(c)),
        }
    }
    clean
}

/// As [`escape`], for an attribute, where a reader would turn line ends into spaces.
pub fn attribute(text: &str) -> String {
    escape(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Control characters as their pictures, and what is no character as the sign for that.
fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        // Legal in XML, but forbidden or without a sight in HTML.
        '\u{80}'..='\u{9f}' | '\u{fdd0}'..='\u{fdef}' => char::REPLACEMENT_CHARACTER,
        // Turns the direction of what follows, also beyond the text that it stands in.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ if u32::from(c) & 0xfffe == 0xfffe => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_can_stand_in_a_document_and_the_ordinary_ones_come_back() {
        for c in ('\0'..=char::MAX).filter(|c| u32::from(*c) < 0x3000 || u32::from(*c) & 0xfff0 == 0xfff0) {
            let text = format!("a{c}b");
            let document = format!("<x y=\"{}\">{}</x>", attribute(&text), escape(&text));
            let parsed = roxmltree::Document::parse(&document).unwrap_or_else(|error| panic!("{c:?}: {error}"));
            let x = parsed.root_element();
            let expected = format!("a{}b", visible(c));
            assert_eq!(x.text(), Some(expected.as_str()));
            assert_eq!(x.attribute("y"), Some(expected.as_str()));
        }
    }

    #[test]
    fn a_control_character_becomes_its_picture() {
        assert_eq!(escape("\u{0}\u{1b}\r\u{7f}\u{fffe}\u{202e}"), "␀␛␍␡\u{fffd}\u{fffd}");
    }
}
