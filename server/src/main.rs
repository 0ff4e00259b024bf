//! The binary: sets up logging and runs the library.

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use notify_server::{logs::filter, run::run};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = match settings.as_str() {
        "" => filter("info"),
        settings => filter(settings),
    };
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("notify-server: RUST_LOG cannot be read: {error}");
            return ExitCode::from(2);
        }
    };
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
