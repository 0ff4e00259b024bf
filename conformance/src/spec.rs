//! Reads the requirements out of `SPEC.md`, the one place where they are written.
//!
//! Knows the document's form and nothing of cases; a case names a sentence by its id and takes level and text from here.

use std::{fmt, str::FromStr, sync::LazyLock};

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

/// A part of the contract that a verdict may be asked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What every server owes its clients.
    #[default]
    Core,
    /// Nothing is lost.
    Strict,
    /// Two nodes are one server.
    Cluster,
    /// Redis and the network fail.
    Resilience,
    /// The store is replicated.
    Failover,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Core, Self::Strict, Self::Cluster, Self::Resilience, Self::Failover];

    /// Its name on the command line, in `SPEC.md` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Strict => "strict",
            Self::Cluster => "cluster",
            Self::Resilience => "resilience",
            Self::Failover => "failover",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::name).join(", ")))
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
    /// The profile that the heading names.
    pub profile: Profile,
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
    let mut section = (String::new(), Profile::Core);
    let mut open = false;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = split_profile(heading);
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
fn head(line: &str, (section, profile): &(String, Profile)) -> Option<Sentence> {
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
        section: section.clone(),
        profile: *profile,
    })
}

/// `9 Title [profile: strict]`
fn split_profile(heading: &str) -> (String, Profile) {
    match heading.split_once(" [profile: ") {
        None => (heading.to_owned(), Profile::Core),
        Some((title, name)) => {
            let profile = name.trim_end_matches(']').parse().expect("every profile that SPEC.md names is known");
            (title.to_owned(), profile)
        }
    }
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
    fn a_section_names_the_profile_of_its_sentences() {
        let found = parse("## 1 One [profile: strict]\n- **A-01** MUST: a.\n## 2 Two\n- **B-01** MUST: b.\n");
        assert_eq!((found[0].section.as_str(), found[0].profile), ("1 One", Profile::Strict));
        assert_eq!(found[1].profile, Profile::Core);
    }

    #[test]
    #[should_panic(expected = "every profile that SPEC.md names is known")]
    fn an_unknown_profile_is_never_taken_for_core() {
        parse("## 1 One [profile: strickt]\n");
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
        assert_eq!((found[0].section.as_str(), found[0].profile), ("1 One", Profile::Core));
    }
}
