//! The binary: sets up logging and runs the library.

use std::process::ExitCode;

use notify_server::{config::Environment, logs, run::run};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = logs::start(&Environment) {
        eprintln!("notify-server: {error}");
        return ExitCode::from(2);
    }
    match run(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notify-server: {error}");
            ExitCode::from(&error)
        }
    }
}
