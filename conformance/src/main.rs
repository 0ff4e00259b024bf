//! The binary `notify-conformance`: parses, runs, exits.

use std::process::ExitCode;

use clap::Parser;
use notify_conformance::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(cli::run(Cli::parse()).await)
}
