//! Chooses cases by the patterns of the command line, and leaves out what this machine cannot do. Knows cases by their ids only.

use crate::{
    case::{Case, Need},
    netns::Namespace,
    spec::{Level, Profile},
};

/// Which cases to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Run these only; all where there are none.
    pub only: Vec<String>,
    /// Leave these out.
    pub skip: Vec<String>,
    /// Leave out what binds less than this.
    pub level: Option<Level>,
    /// Those of these profiles; of every profile where there are none.
    pub profiles: Vec<Profile>,
}

impl Selection {
    /// The chosen cases.
    ///
    /// # Errors
    /// A profile without cases, the patterns that match nothing in the profiles, or a note that nothing is left.
    pub fn choose(&self, all: &[Case]) -> Result<Vec<Case>, String> {
        if let Some(empty) = self.profiles.iter().find(|it| !all.iter().any(|case| case.profile() == **it)) {
            return Err(format!("the profile {empty} has no cases yet, so there is nothing to give a verdict on"));
        }
        let of_profiles = self.of_profiles(all);
        let unmatched = |pattern: &&String| !of_profiles.iter().any(|case| matches(pattern, case.id));
        let unmatched: Vec<_> = self.only.iter().chain(&self.skip).filter(unmatched).collect();
        if let Some(elsewhere) = all.iter().find(|case| unmatched.iter().any(|it| matches(it, case.id))) {
            let profile = elsewhere.profile();
            return Err(format!("{} belongs to the profile {profile}: name it by --profile {profile}", elsewhere.id));
        }
        if !unmatched.is_empty() {
            return Err(format!("no case matches {unmatched:?}; `list` shows them all"));
        }
        let beyond: Vec<_> = self.beyond_this_machine(all).iter().map(|case| case.id).collect();
        let wanted = |case: &Case| self.fits(case) && !beyond.contains(&case.id);
        let chosen: Vec<_> = of_profiles.into_iter().filter(wanted).collect();
        if chosen.is_empty() {
            return Err(match beyond.as_slice() {
                [] => "no case is left by --only, --skip, --level and --profile".to_owned(),
                ids => format!("no case is left but {}, which this machine cannot run", ids.join(", ")),
            });
        }
        Ok(chosen)
    }

    /// The cases of the chosen profiles: what the other patterns choose from.
    pub fn of_profiles(&self, all: &[Case]) -> Vec<Case> {
        let wanted = |case: &&Case| self.profiles.is_empty() || self.profiles.contains(&case.profile());
        all.iter().filter(wanted).copied().collect()
    }

    /// The cases that are left out because this machine has not what they need, though nothing else speaks against them. One that is
    /// asked for by its id is not among them.
    pub fn beyond_this_machine(&self, all: &[Case]) -> Vec<Case> {
        let named = |case: &Case| self.only.iter().any(|pattern| pattern == case.id);
        let left_out = |case: &Case| beyond_this_machine(case) && !named(case) && self.fits(case);
        self.of_profiles(all).into_iter().filter(left_out).collect()
    }

    fn fits(&self, case: &Case) -> bool {
        (self.only.is_empty() || self.only.iter().any(|pattern| matches(pattern, case.id)))
            && !self.skip.iter().any(|pattern| matches(pattern, case.id))
            && self.level.is_none_or(|level| case.level() <= level)
    }
}

/// Whether this machine has not what the case needs of it.
pub fn beyond_this_machine(case: &Case) -> bool {
    case.needs.contains(&Need::Namespaces) && !Namespace::possible()
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
    fn a_profile_without_cases_is_an_error_even_beside_one_that_has_some() {
        let profiles = vec![Profile::Core, Profile::Strict];
        let selection = Selection { profiles, ..Selection::default() };
        let core: Vec<_> = crate::cases::all().into_iter().filter(|case| case.profile() == Profile::Core).collect();
        assert!(selection.choose(&core).is_err_and(|error| error.contains("the profile strict has no cases")));
    }

    #[test]
    fn what_this_machine_cannot_do_is_left_out_unless_it_was_asked_for_by_its_id() {
        const LINK: &str = "HEART-05/link";
        let all = crate::cases::all();
        let of = |pattern: &str| Selection {
            only: vec![pattern.to_owned()],
            profiles: vec![Profile::Strict],
            ..Selection::default()
        };
        let has = |chosen: &[Case]| chosen.iter().any(|case| case.id == LINK);
        assert!(of(LINK).choose(&all).is_ok_and(|chosen| has(&chosen)), "and is then not run, which is no verdict");
        assert!(of(LINK).beyond_this_machine(&all).is_empty());
        let by_sentence = of("HEART-05");
        assert!(by_sentence.choose(&all).is_ok_and(|chosen| has(&chosen) == Namespace::possible()));
        assert_eq!(has(&by_sentence.beyond_this_machine(&all)), !Namespace::possible());
    }

    #[test]
    fn leaving_everything_out_is_an_error() {
        let selection = Selection { skip: vec!["*".into()], ..Selection::default() };
        assert!(selection.choose(crate::cases::all().as_slice()).is_err());
    }
}
