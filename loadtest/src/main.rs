//! The binary: hands its arguments to the library and its exit code to the system.

use std::process::ExitCode;

use clap::Parser;
use notify_load::{cli, machine};

// What goose allocates for a request is freed on another thread; a cheaper harness is a later bottleneck.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Before anything is started, so that servers inherit it. Where it fails, a run that needs more is refused later.
    let _ = machine::raise_open_files();
    ExitCode::from(cli::run(cli).await)
}
