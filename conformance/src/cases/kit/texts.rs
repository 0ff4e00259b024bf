//! Texts that cases send, or look for in what they receive.

/// Ids of actors and resources that something might change on their way.
pub(crate) const ODD: &[&str] = &[
    "0",
    "null",
    " padded ",
    "Ünïcødé 🩺",
    "a\"b\\c",
    "line\nbreak",
    "451-[\"x\"]",
    "<b>&amp;'</b>",
    "%41%20+",
    "{}",
    "[1]",
    "\u{2028}\u{7f}",
    "$1 $& \\1",
    "שלום",
    "e\u{301}",
    "true",
    "1e3",
];

/// What a stack trace looks like in the languages that servers are written in.
pub(crate) const TRACES: [&str; 9] = [
    "panicked at",
    "    at ",
    "\tat ",
    "Traceback",
    "stack backtrace",
    "goroutine ",
    "node_modules",
    "node:internal",
    ".rs:",
];
