//! Reads the requirements out of `SPEC.md`, the one place where they are written.
//!
//! Knows the document's form and nothing of cases; a case names a sentence by its id and takes level and text from here.

use std::{fmt, sync::LazyLock};

use serde::Serialize;

/// How binding a sentence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// The system's own promise.
    Must,
    /// What users are entitled to expect.
    Should,
    /// An allowance; never checked.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// One requirement of `SPEC.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// The stable id, such as `QUEUE-03`.
    pub id: String,
    /// How binding it is.
    pub level: Level,
    /// The requirement, on one line.
    pub text: String,
    /// What a target must declare for the sentence to bind it.
    pub capabilities: Vec<String>,
    /// The heading that it stands under, such as `5 Offline queue`.
    pub section: String,
}

/// The text of `SPEC.md`.
pub const SPEC: &str = include_str!("../SPEC.md");

static SENTENCES: LazyLock<Vec<Sentence>> = LazyLock::new(|| parse(SPEC));

/// Every sentence, in the order of the document.
pub fn sentences() -> &'static [Sentence] {
    &SENTENCES
}

/// The sentence with this id.
pub fn sentence(id: &str) -> Option<&'static Sentence> {
    SENTENCES.iter().find(|sentence| sentence.id == id)
}

fn parse(document: &str) -> Vec<Sentence> {
    let mut found: Vec<Sentence> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_owned();
            open = false;
        } else if let Some(sentence) = head(line, &section) {
            found.push(sentence);
            open = true;
        } else if let (true, Some(rest), Some(last)) = (open, line.strip_prefix("  "), found.last_mut()) {
            last.text.push(' ');
            last.text.push_str(rest.trim());
        } else {
            open = false;
        }
    }
    found.iter_mut().for_each(split_capabilities);
    found
}

/// `- **AUTH-01** MUST: text`
fn head(line: &str, section: &str) -> Option<Sentence> {
    let (id, rest) = line.strip_prefix("- **")?.split_once("** ")?;
    let (level, text) = rest.split_once(": ")?;
    let level = match level {
        "MUST" => Level::Must,
        "SHOULD" => Level::Should,
        "MAY" => Level::May,
        _ => return None,
    };
    Some(Sentence {
        id: id.to_owned(),
        level,
        text: text.trim().to_owned(),
        capabilities: Vec::new(),
        section: section.to_owned(),
    })
}

fn split_capabilities(sentence: &mut Sentence) {
    let Some((text, tag)) = sentence.text.split_once(" [capability: ") else { return };
    sentence.capabilities = tag.trim_end_matches(']').split(", ").map(str::to_owned).collect();
    sentence.text = text.to_owned();
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_line_that_looks_like_a_sentence_is_one() {
        let written = SPEC.lines().filter(|line| line.starts_with("- **")).count();
        assert_eq!(sentences().len(), written);
    }

    #[test]
    fn ids_are_unique() {
        let ids: HashSet<_> = sentences().iter().map(|sentence| &sentence.id).collect();
        assert_eq!(ids.len(), sentences().len());
    }

    #[test]
    fn a_wrapped_sentence_is_joined_and_its_capabilities_are_taken_off() {
        let found = parse("## 1 One\n- **A-01** SHOULD: first\n  second. [capability: x, y]\n\ntext\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "first second.");
        assert_eq!(found[0].capabilities, ["x", "y"]);
        assert_eq!(found[0].level, Level::Should);
        assert_eq!(found[0].section, "1 One");
    }
}
