//! Two measurements side by side.

use std::path::PathBuf;

use clap::Args;
use notify_conformance::exit;

use super::usage;
use crate::{compare::compare_all, report::json};

#[derive(Debug, Args, Clone)]
pub(super) struct CompareArgs {
    /// The earlier JSON report, or several of them in one file.
    a: PathBuf,
    /// The later one.
    b: PathBuf,
    /// Print Markdown for a pull request.
    #[arg(long)]
    markdown: bool,
}

/// Prints what has changed; returns the exit code.
pub(super) fn run(args: &CompareArgs) -> u8 {
    let read = |path: &PathBuf| json::read(path).map_err(|why| usage(&why));
    let (a, b) = match (read(&args.a), read(&args.b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let comparison = compare_all(&a, &b);
    print!("{}", if args.markdown { comparison.markdown() } else { comparison.text() });
    if comparison.is_worse() { exit::NOT_CONFORMANT } else { exit::CONFORMANT }
}
