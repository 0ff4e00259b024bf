//! `selftest` on the command line: the matrix for people, and as JSON.

use tokio::sync::mpsc;

use super::{interrupt::Interrupt, no_verdict};
use crate::{
    cases, exit,
    ground::{self, Options},
    report::{
        choice::{Choice, Form},
        html::matrix,
    },
    selftest::{self, Any, Chosen, Fate, Matrix, Mutant},
    text::shorten,
};

/// How much is shown of what was seen in a case, in bytes.
const GLANCE: usize = 400;

/// What `selftest` runs against unless told otherwise.
pub(super) const MUTANTS: &str = "fixtures/targets/mutants.toml";

/// Runs the matrix; returns the exit code.
pub(super) async fn prove(options: &Options, at_once: usize, chosen: &Chosen, reports: &[Choice]) -> u8 {
    let mut interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return no_verdict(&error),
    };
    let (events, _inbox) = mpsc::unbounded_channel();
    let suite = match ground::prepare(options, &events).await {
        Ok(suite) => suite,
        Err(error) => return no_verdict(&error),
    };
    let cases = cases::all();
    let proven = tokio::select! {
        matrix = selftest::run(&suite, &cases, at_once, chosen, if chosen.any.is_some() { tell_any } else { tell }) => matrix.map_err(|error| error.to_string()),
        () = interrupt.came() => Err("interrupted".to_owned()),
    };
    ground::clear(suite).await;
    match proven {
        Ok(matrix) if let Some(any) = chosen.any => {
            write(&matrix, reports).map_or_else(|error| no_verdict(&error), |()| score(&matrix, any))
        }
        Ok(matrix) => {
            if !chosen.is_whole() {
                println!("  note      not every mutant faced every case, so nothing is said of idle cases");
            }
            conclude(&matrix, reports)
        }
        Err(why) => no_verdict(&why),
    }
}

fn tell(fate: &Fate) {
    let survived = fate.survived();
    let verdict = match (survived.is_empty(), fate.mutant.passes.is_empty(), fate.unexplained.is_empty()) {
        (false, ..) => "SURVIVED",
        (true, true, _) => "killed ",
        (true, false, true) => "right  ",
        (true, false, false) => "WRONGED",
    };
    let also = fate.failed.len() + survived.len() - fate.mutant.killed_by.len();
    println!(
        "  {verdict}  {:<32} by {}, and {also} more  {:.1} s",
        fate.mutant.name,
        [fate.mutant.killed_by.as_slice(), &fate.mutant.passes].concat().join(", "),
        fate.took_s
    );
    if !survived.is_empty() {
        println!("            not by {}; it does this: {}", survived.join(", "), fate.mutant.breaks);
    }
    for (case, seen) in &fate.unexplained {
        println!("            {case} failed though the entry does not say so: {}", shorten(seen, GLANCE));
    }
}

fn tell_any(fate: &Fate) {
    let Mutant { name, breaks, .. } = &fate.mutant;
    match fate.caught_by() {
        Some(case) => println!("  caught    {name:<6} by {case}  {:.1} s", fate.took_s),
        None => println!("  SURVIVED  {name:<6} {breaks}  {:.1} s", fate.took_s),
    }
}

/// Of mutants that nobody chose some change nothing, or nothing that is promised: so there is a score, and no verdict on the suite.
fn score(matrix: &Matrix, any: Any) -> u8 {
    let caught = matrix.fates.iter().filter(|fate| fate.caught_by().is_some()).count();
    let all = matrix.fates.len();
    tell_red(matrix);
    println!("  caught {caught} of {all} ({} %) · seed {:x}", caught * 100 / all.max(1), any.seed);
    if matrix.red_without_mutant.is_empty() { exit::CONFORMANT } else { exit::NOT_CONFORMANT }
}

fn tell_red(matrix: &Matrix) {
    for (case, seen) in &matrix.red_without_mutant {
        println!("  RED without any mutant: {case}: {}", shorten(seen, GLANCE));
    }
}

fn write(matrix: &Matrix, reports: &[Choice]) -> Result<(), String> {
    for choice in reports {
        let (path, text) = match choice {
            Choice::File(Form::Html, path) => (path, Ok(matrix::render(matrix))),
            Choice::File(_, path) => (path, serde_json::to_string_pretty(matrix)),
            Choice::GitHub => continue,
        };
        let written = text.map_err(std::io::Error::from).and_then(|text| std::fs::write(path, text));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn conclude(matrix: &Matrix, reports: &[Choice]) -> u8 {
    if let Err(error) = write(matrix, reports) {
        return no_verdict(&error);
    }
    tell_red(matrix);
    if !matrix.idle.is_empty() {
        let idle: Vec<_> = matrix.idle.iter().map(String::as_str).collect();
        println!("  not yet proven able to fail by any mutant: {}", idle.join(", "));
    }
    // Of a long run only the end is read, as in a log that is cut.
    for fate in matrix.fates.iter().filter(|fate| !fate.stands()) {
        tell(fate);
    }
    let killed = matrix.fates.iter().filter(|fate| fate.survived().is_empty()).count();
    let unexplained: usize = matrix.fates.iter().map(|fate| fate.unexplained.len()).sum();
    println!(
        "  sound server red {} · mutants killed {killed}/{} · failures unexplained {unexplained} · MUST cases idle {}   → {}",
        matrix.red_without_mutant.len(),
        matrix.fates.len(),
        matrix.idle.len(),
        if matrix.holds() { "PROVEN" } else { "NOT PROVEN" }
    );
    if matrix.holds() { exit::CONFORMANT } else { exit::NOT_CONFORMANT }
}
