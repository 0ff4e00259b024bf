//! The binary `notify-mutant`: the reference server, broken as the variable `MUTANT` says; unbroken without it.
//!
//! The only place outside `server/` that knows the server. `--list` prints every mutant as JSON, for the suite's
//! `selftest`, which knows nothing else of it.

mod delivery;
mod list;
mod queue;
mod rules;
mod sessions;
mod tokens;

use std::{error::Error, io::stderr, process::ExitCode};

use notify_server::{App, Collaborators, Config, config::Environment, serve::serve};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("{}", list::as_json());
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new("warn")).with_writer(stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notify-mutant: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut config = Config::from_source(&Environment)?;
    let mutant = match std::env::var("MUTANT") {
        Ok(name) if !name.is_empty() => {
            Some(list::find(&name).ok_or_else(|| format!("MUTANT names no mutant: {name:?}"))?)
        }
        _ => None,
    };
    if let Some(mutant) = mutant {
        (mutant.settings)(&mut config);
    }
    let sound = Collaborators::from_config(&config)?;
    let collaborators = match mutant {
        Some(mutant) => (mutant.breaks)(sound, &config),
        None => sound,
    };
    let listener = TcpListener::bind((config.host.as_str(), config.port)).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    serve(listener, App::new(collaborators), async move {
        let _ = terminated.recv().await;
    })
    .await;
    Ok(())
}
