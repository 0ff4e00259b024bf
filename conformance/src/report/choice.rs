//! Which reports were asked for, as the command line says it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What may stand after `--report`.
const KINDS: &str = "json=FILE, junit=FILE, html=FILE, badge=FILE and github";

/// A report besides the terminal's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A file of this form.
    File(Form, PathBuf),
    /// Annotations on standard output, and a job summary where the environment names a file for it.
    GitHub,
}

/// What a report's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Everything, by `fixtures/schema/report.schema.json`.
    Json,
    /// What CI servers read.
    JUnit,
    /// One page for people.
    Html,
    /// A picture of the verdict.
    Badge,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = text.split_once('=').map_or((text, None), |(kind, file)| (kind, Some(file)));
        let form = match (kind, file) {
            ("github", None) => return Ok(Self::GitHub),
            ("github", Some(_)) => return Err("github takes no file".to_owned()),
            ("json", _) => Form::Json,
            ("junit", _) => Form::JUnit,
            ("html", _) => Form::Html,
            ("badge", _) => Form::Badge,
            _ => return Err(format!("there is no report {kind:?}; there are {KINDS}")),
        };
        match file {
            Some(file) if !file.is_empty() => Ok(Self::File(form, file.into())),
            _ => Err(format!("{kind} takes a file: {kind}=FILE")),
        }
    }
}

/// The file that two reports would share, if there is one: the second would overwrite the first.
pub fn shared_file(choices: &[Choice]) -> Option<&Path> {
    let mut seen = BTreeSet::new();
    choices.iter().find_map(|choice| match choice {
        Choice::File(_, path) if !seen.insert(path) => Some(path.as_path()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        for (text, form) in
            [("json=a", Form::Json), ("junit=a", Form::JUnit), ("html=a", Form::Html), ("badge=a", Form::Badge)]
        {
            assert_eq!(text.parse(), Ok(Choice::File(form, "a".into())));
        }
        assert_eq!("github".parse(), Ok(Choice::GitHub));
        assert_eq!("json=a=b.json".parse(), Ok(Choice::File(Form::Json, "a=b.json".into())));
    }

    #[test]
    fn nonsense_is_named() {
        for (text, named) in [
            ("cuneiform=x", "no report \"cuneiform\"; there are json=FILE"),
            ("html", "html takes a file"),
            ("junit=", "junit takes a file"),
            ("github=x", "github takes no file"),
            ("", "no report \"\""),
        ] {
            let error = text.parse::<Choice>().expect_err("it is nonsense");
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn two_reports_in_one_file_are_found() {
        let choices = |text: &str| text.split(',').map(|it| it.parse().expect("it is right")).collect::<Vec<Choice>>();
        assert_eq!(shared_file(&choices("json=a,html=b,github,github")), None);
        assert_eq!(shared_file(&choices("json=a,html=b,junit=a")), Some(Path::new("a")));
    }
}
