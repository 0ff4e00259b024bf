//! Texts for the fuzz tests: by chance, and near to what is right. A byte stands for a fragment, or for itself.

/// The text that these bytes stand for: from 0xc0 on for the ASCII characters in turn, below for the fragments.
pub(crate) fn text(bytes: &[u8], fragments: &[&str]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            0xc0.. => text.push(char::from((byte - 0xc0) * 2)),
            _ => text.push_str(fragments[usize::from(*byte) % fragments.len()]),
        }
    }
    text
}

/// What JSON is made of.
pub(crate) const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "1",
    "-1.50",
    "1e400",
    "\"\"",
    "{}",
    "[]",
    "\\ud83d",
    "\\u0061",
    "\\ude00",
    "\"a\":",
    "\"b\":",
    "\"x\"",
    "\"\\ud83d\"",
    "\u{1f512}",
    " ",
    "\n",
];
