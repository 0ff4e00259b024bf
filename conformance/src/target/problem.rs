//! What can be wrong with a target file, and how it is told. Knows nothing of what a target file holds.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// One thing that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where, from 1.
    pub line: usize,
    /// The path of the key, such as `sessions.create.method`; empty where the text is not TOML.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a target file cannot be used.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The file cannot be read.
    #[error("cannot read the target file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not right.
    #[error("the target file {path} is not right:{}", list(.problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Every problem, in the order of the lines.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
