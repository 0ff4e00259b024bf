//! Which reports were asked for, as the command line says it, and their files.

use std::{fs, io, path::PathBuf, str::FromStr};

use super::{html, json, markdown};
use crate::results::Results;

/// What may stand after `--report`.
const KINDS: &str = "json=FILE, html=FILE and markdown=FILE";

/// A report besides the terminal's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the file holds.
    pub form: Form,
    /// The file.
    pub path: PathBuf,
}

/// What a report's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Everything, by `loadtest/schema/results.json`.
    Json,
    /// One page for people.
    Html,
    /// A table for a pull request.
    Markdown,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = text.split_once('=').unwrap_or((text, ""));
        let form = match kind {
            "json" => Form::Json,
            "html" => Form::Html,
            "markdown" => Form::Markdown,
            _ => return Err(format!("there is no report {kind:?}; there are {KINDS}")),
        };
        if file.is_empty() {
            return Err(format!("{kind} takes a file: {kind}=FILE"));
        }
        Ok(Self { form, path: file.into() })
    }
}

impl Choice {
    /// Writes the report, and the folders that its path names.
    ///
    /// # Errors
    /// Where the file cannot be written; the path is in the message.
    pub fn write(&self, results: &Results) -> io::Result<()> {
        let text = match self.form {
            Form::Json => json::text(results)?,
            Form::Html => html::render(results),
            Form::Markdown => markdown::render(results),
        };
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&self.path, text))
            .map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_kind_is_read_and_nonsense_is_named() {
        for (text, form) in [("json=a", Form::Json), ("html=a", Form::Html), ("markdown=a", Form::Markdown)] {
            assert_eq!(text.parse(), Ok(Choice { form, path: "a".into() }));
        }
        for (text, named) in [
            ("cuneiform=x", "no report \"cuneiform\"; there are json=FILE, html=FILE and markdown=FILE"),
            ("html", "html takes a file"),
            ("json=", "json takes a file"),
        ] {
            let error = text.parse::<Choice>().expect_err("it is nonsense");
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn each_form_is_written_into_a_folder_that_was_not_there() {
        let folder = std::env::temp_dir().join(format!("notify-load-{}", std::process::id()));
        for (text, begins) in [("json", "{"), ("html", "<!DOCTYPE html>"), ("markdown", "### ")] {
            let path = folder.join("new").join(text);
            let choice: Choice = format!("{text}={}", path.display()).parse().expect("it is right");
            choice.write(&sample::good()).expect("it can be written");
            assert!(fs::read_to_string(&path).expect("it is there").starts_with(begins), "{text}");
        }
        fs::remove_dir_all(&folder).expect("it can be removed");
        let choice = Choice { form: Form::Json, path: "/dev/null/x.json".into() };
        let error = choice.write(&sample::good()).expect_err("no file can be there");
        assert!(error.to_string().contains("cannot write /dev/null/x.json"), "{error}");
    }
}
