//! Chooses cases by the patterns of the command line. Knows cases by their ids only.

use crate::{case::Case, spec::Level};

/// Which cases to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Run these only; all where there are none.
    pub only: Vec<String>,
    /// Leave these out.
    pub skip: Vec<String>,
    /// Leave out what binds less than this.
    pub level: Option<Level>,
}

impl Selection {
    /// The chosen cases.
    ///
    /// # Errors
    /// The patterns that match nothing, or a note that nothing is left.
    pub fn choose(&self, all: &[Case]) -> Result<Vec<Case>, String> {
        let unmatched: Vec<_> =
            self.only.iter().chain(&self.skip).filter(|it| !all.iter().any(|case| matches(it, case.id))).collect();
        if !unmatched.is_empty() {
            return Err(format!("no case matches {unmatched:?}; `list` shows them all"));
        }
        let chosen: Vec<_> = all.iter().filter(|case| self.wants(case)).copied().collect();
        if chosen.is_empty() {
            return Err("no case is left by --only, --skip and --level".to_owned());
        }
        Ok(chosen)
    }

    fn wants(&self, case: &Case) -> bool {
        (self.only.is_empty() || self.only.iter().any(|pattern| matches(pattern, case.id)))
            && !self.skip.iter().any(|pattern| matches(pattern, case.id))
            && self.level.is_none_or(|level| case.level() <= level)
    }
}

/// A pattern is a whole id, the sentence's part of it, an area such as `QUEUE`, or any of these with `*`.
pub fn matches(pattern: &str, id: &str) -> bool {
    let sentence = id.split('/').next().unwrap_or(id);
    let area = sentence.split('-').next().unwrap_or(sentence);
    [id, sentence, area].into_iter().any(|name| glob(pattern, name))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(after, &rest[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_a_case_a_sentence_an_area_or_a_glob() {
        for pattern in ["QUEUE-03/cap", "QUEUE-03", "QUEUE", "QUEUE-0*", "*cap", "*-03/*"] {
            assert!(matches(pattern, "QUEUE-03/cap"), "{pattern}");
        }
        for pattern in ["QUEUE-3", "QUEUE-0", "QUEU", "cap", "", "QUEUE-03/capped"] {
            assert!(!matches(pattern, "QUEUE-03/cap"), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error_that_names_it() {
        let selection = Selection { only: vec!["AUTH".into(), "QEUE".into()], ..Selection::default() };
        assert!(selection.choose(crate::cases::all().as_slice()).is_err_and(|error| error.contains("QEUE")));
    }

    #[test]
    fn leaving_everything_out_is_an_error() {
        let selection = Selection { skip: vec!["*".into()], ..Selection::default() };
        assert!(selection.choose(crate::cases::all().as_slice()).is_err());
    }
}
