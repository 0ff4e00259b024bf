//! The binary `notify-conformance`: parses, runs, exits.

use std::process::ExitCode;

use clap::Parser;
use notify_conformance::{
    cli::{self, Cli},
    exit, proxies,
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = proxies::set_aside() {
        return ExitCode::from(exit::no_verdict(&format!("cannot set the proxies of the environment aside: {error}")));
    }
    ExitCode::from(cli::run(cli).await)
}
