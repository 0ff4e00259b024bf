//! Several targets back to back over several rounds.

use std::path::PathBuf;

use clap::Args;
use notify_conformance::exit;

use super::{
    no_verdict,
    options::{LoadArgs, RedisArgs},
    run::carry_out,
    usage,
};
use crate::{machine, rounds::Rounds, run::Plan, scenarios::Kind};

#[derive(Debug, Args, Clone)]
pub(super) struct RoundsArgs {
    /// The scenario.
    #[arg(value_enum)]
    scenario: Kind,
    /// The target files; the first one is set against each other.
    #[arg(long, required = true, value_name = "FILE,FILE,…", value_delimiter = ',')]
    targets: Vec<String>,
    /// How often each of them is run.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Write the results of every run into one JSON file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown, too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    load: LoadArgs,
}

/// Runs them in alternating order, so that no target always runs on a machine that another has warmed up.
pub(super) async fn run(args: RoundsArgs) -> u8 {
    if let Err(why) = args.load.check(args.scenario) {
        return usage(&why);
    }
    let settings = args.load.settings(args.scenario);
    if let Err(why) = machine::check_open_files(args.scenario.open_at_once(&settings, settings.connections)) {
        return usage(&why);
    }
    let mut runs = Vec::new();
    for round in 0..args.rounds {
        let mut order: Vec<_> = args.targets.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for target in order {
            let plan = Plan {
                wanted: args.redis.wanted(Some(target.clone())),
                kind: args.scenario,
                settings: settings.clone(),
                growth: Vec::new(),
                expectations: Vec::new(),
            };
            match carry_out(&plan).await {
                Ok(results) => runs.push(results),
                Err(code) => return code,
            }
        }
    }
    conclude(&args, runs)
}

fn conclude(args: &RoundsArgs, runs: Vec<crate::results::Results>) -> u8 {
    if let Some(path) = &args.json {
        let written =
            serde_json::to_vec(&runs).map_err(std::io::Error::from).and_then(|text| std::fs::write(path, text));
        if let Err(error) = written {
            return no_verdict(&format!("cannot write {}: {error}", path.display()));
        }
    }
    let passed = runs.iter().all(|run| run.verdict.passed);
    let subject = runs.first().map(|run| run.environment.target.clone()).unwrap_or_default();
    let rounds = match Rounds::new(runs, &subject) {
        Ok(rounds) => rounds,
        Err(why) => return no_verdict(&why),
    };
    print!("{}", rounds.text());
    if let Some(path) = &args.markdown
        && let Err(error) = std::fs::write(path, rounds.markdown())
    {
        return no_verdict(&format!("cannot write {}: {error}", path.display()));
    }
    if passed { exit::CONFORMANT } else { exit::NOT_CONFORMANT }
}
