//! `site` on the command line.

use std::path::{Path, PathBuf};

use super::{no_verdict, usage};
use crate::{
    compare::read::Report,
    exit,
    site::{self, Source},
};

/// Writes the folder; returns the exit code.
pub(super) fn write(folder: &Path, files: &[PathBuf]) -> u8 {
    let (mut sources, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match Report::read(file) {
            Ok(report) => sources.push(Source { file: file.clone(), report }),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    // All errors at once.
    if !wrong.is_empty() {
        return usage(&wrong.join("\nerror: "));
    }
    match site::write(folder, &sources) {
        Ok(()) => {
            println!("{} shows {} reports", folder.join("index.html").display(), sources.len());
            exit::CONFORMANT
        }
        Err(error) => no_verdict(&error),
    }
}
