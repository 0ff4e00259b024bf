//! `selftest` on the command line: the matrix for people, and as JSON.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::no_verdict;
use crate::{
    cases, exit,
    ground::{self, Options},
    selftest::{self, Fate, Matrix},
};

/// What `selftest` runs against unless told otherwise.
pub(super) const MUTANTS: &str = "fixtures/targets/mutants.toml";

/// Runs the matrix; returns the exit code.
pub(super) async fn prove(options: &Options, at_once: usize, report: Option<&PathBuf>) -> u8 {
    let (events, _inbox) = mpsc::unbounded_channel();
    let suite = match ground::prepare(options, &events).await {
        Ok(suite) => suite,
        Err(error) => return no_verdict(&error),
    };
    let cases = cases::all();
    let matrix = tokio::select! {
        matrix = selftest::run(&suite, &cases, at_once, tell) => matrix.map_err(|error| error.to_string()),
        () = super::interrupted() => Err("interrupted".to_owned()),
    };
    ground::clear(suite).await;
    match matrix {
        Ok(matrix) => conclude(&matrix, report),
        Err(why) => no_verdict(&why),
    }
}

fn tell(fate: &Fate) {
    let survived = fate.survived();
    let verdict = if survived.is_empty() { "killed " } else { "SURVIVED" };
    let also = fate.failed.len() + survived.len() - fate.mutant.killed_by.len();
    println!(
        "  {verdict}  {:<32} by {}, and {also} more  {:.1} s",
        fate.mutant.name,
        fate.mutant.killed_by.join(", "),
        fate.took_s
    );
    if !survived.is_empty() {
        println!("            not by {}; it does this: {}", survived.join(", "), fate.mutant.breaks);
    }
    let unexplained = fate.unexplained();
    if !unexplained.is_empty() {
        println!("            failed though its entry does not say so: {}", unexplained.join(", "));
    }
}

fn conclude(matrix: &Matrix, report: Option<&PathBuf>) -> u8 {
    if let Some(path) = report {
        let written = serde_json::to_string_pretty(matrix).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|text| std::fs::write(path, text)) {
            return no_verdict(&format!("{}: {error}", path.display()));
        }
    }
    if !matrix.red_without_mutant.is_empty() {
        let red: Vec<_> = matrix.red_without_mutant.iter().map(String::as_str).collect();
        println!("  RED without any mutant: {}", red.join(", "));
    }
    if !matrix.idle.is_empty() {
        let idle: Vec<_> = matrix.idle.iter().map(String::as_str).collect();
        println!("  not yet proven able to fail by any mutant: {}", idle.join(", "));
    }
    let killed = matrix.fates.iter().filter(|fate| fate.survived().is_empty()).count();
    let unexplained: usize = matrix.fates.iter().map(|fate| fate.unexplained().len()).sum();
    println!(
        "  sound server red {} · mutants killed {killed}/{} · failures unexplained {unexplained} · MUST cases idle {}   → {}",
        matrix.red_without_mutant.len(),
        matrix.fates.len(),
        matrix.idle.len(),
        if matrix.holds() { "PROVEN" } else { "NOT PROVEN" }
    );
    if matrix.holds() { exit::CONFORMANT } else { exit::NOT_CONFORMANT }
}
