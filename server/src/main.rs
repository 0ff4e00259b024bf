//! The binary: sets up logging and runs the library.

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use notify_server::run::run;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(stderr).init();
    match run(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notify-server: {error}");
            ExitCode::from(&error)
        }
    }
}
