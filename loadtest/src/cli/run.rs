//! One scenario on one target.

use notify_conformance::exit;

use super::{no_verdict, options::RunArgs, usage};
use crate::{
    interrupt::Interrupt,
    machine,
    report::terminal,
    results::Results,
    run::{self, Plan, told},
    scenarios::Kind,
};

/// Runs it, shows and writes the results; returns the exit code.
pub(super) async fn run(kind: Kind, args: RunArgs) -> u8 {
    if let Err(why) = args.load.check(kind) {
        return usage(&why);
    }
    let mut settings = args.load.settings(kind);
    settings.goose_reports = args.goose_report;
    let most = args.growth.iter().copied().max().unwrap_or(settings.connections);
    if let Err(why) = machine::check_open_files(kind.open_at_once(&settings, most)) {
        return usage(&why);
    }
    let plan = Plan {
        wanted: args.redis.wanted(args.target),
        kind,
        settings,
        growth: args.growth,
        expectations: args.expectations,
    };
    let results = match carry_out(&plan).await {
        Ok(results) => results,
        Err(code) => return code,
    };
    print!("{}", terminal::render(&results));
    for report in &args.report {
        if let Err(error) = report.write(&results) {
            return no_verdict(&error);
        }
    }
    if results.verdict.passed { exit::CONFORMANT } else { exit::NOT_CONFORMANT }
}

/// Carries a plan out unless it is interrupted; the exit code where there is no result.
pub(super) async fn carry_out(plan: &Plan) -> Result<Results, u8> {
    let mut interrupt = Interrupt::listen().map_err(|error| no_verdict(&error))?;
    tokio::select! {
        results = run::run(plan) => results.map_err(|fault| no_verdict(&told(&fault))),
        () = interrupt.came() => Err(no_verdict(&"interrupted")),
    }
}
