//! All reports of one run: the terminal's as it happens, the others at its end.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use super::{
    badge,
    choice::{Choice, Form},
    github, html,
    json::Json,
    junit,
    record::Record,
    terminal::Terminal,
};
use crate::event::RunEvent;

/// The reports that were asked for, and the terminal's.
#[derive(Debug)]
pub struct Reports {
    terminal: Terminal,
    json: Json,
    record: Record,
    choices: Vec<Choice>,
    job_summary: Option<PathBuf>,
    /// Ends the part of the output in which GitHub looks for no commands.
    fence: Option<String>,
}

impl Reports {
    /// Reports on a run that begins now; GitHub's job summary is added to `job_summary`.
    pub fn new(target: &str, seed: u64, choices: Vec<Choice>, job_summary: Option<PathBuf>) -> Self {
        let fence = choices.contains(&Choice::GitHub).then(|| format!("fence-{:016x}", rand::random::<u64>()));
        if let Some(fence) = &fence {
            say(&github::begin_fence(fence));
        }
        Self {
            terminal: Terminal::new(seed),
            json: Json::new(target),
            record: Record::new(target, seed),
            choices,
            job_summary,
            fence,
        }
    }

    /// Takes one event in.
    pub fn show(&mut self, event: &RunEvent) {
        self.terminal.show(event);
        self.json.show(event);
        self.record.show(event);
    }

    /// Writes every report; one that cannot be written keeps no other from it.
    ///
    /// # Errors
    /// What could not be written, and why.
    pub fn write(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        for choice in &self.choices {
            let (path, written) = match choice {
                Choice::File(form, path) => (Some(path), self.text(*form).and_then(|text| fs::write(path, text))),
                Choice::GitHub => (self.job_summary.as_ref(), self.tell_github()),
            };
            if let Err(error) = written {
                let name = path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
                problems.push(format!("{name}: {error}"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    fn text(&self, form: Form) -> io::Result<String> {
        Ok(match form {
            Form::Json => self.json.text()?,
            Form::JUnit => junit::render(&self.record),
            Form::Html => html::report::render(&self.record),
            Form::Badge => badge::render(&self.record),
        })
    }

    fn tell_github(&self) -> io::Result<()> {
        if let Some(fence) = &self.fence {
            say(&github::end_fence(fence));
        }
        say(&github::annotations(&self.record));
        let Some(path) = &self.job_summary else { return Ok(()) };
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(github::job_summary(&self.record).as_bytes())
    }
}

/// A reader that has gone, such as `head`, changes nothing about the verdict.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
}
