//! What the binary does, from its arguments to its exit status.

mod check;

use std::{process::ExitCode, sync::Arc};

use tokio::{net::TcpListener, signal};

use self::check::{ask_health, check};
use crate::{
    app::{App, Collaborators},
    auth::keys::Keys,
    config::{Config, ConfigErrors, Environment, Source},
    dev,
    model::StoreError,
    ops::{page, rotation::Rotation},
    serve::{Listeners, serve},
};

/// How the binary is called.
pub const USAGE: &str = "usage: notify-server [--dev | --check | --healthy]\n\n  --dev      make up the secrets that are not set, and print how to try the server\n  --check    look whether the settings are right and the store answers, say what is wrong, and end\n  --healthy  ask the server that runs with these settings whether it is well, for a health check\n  --help     print this\n  --version  print the version\n\nSettings are environment variables; see the README.";

/// Why the server did not run. The variants are the exit statuses.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Exit status 2.
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    /// Exit status 2.
    #[error("the configuration is wrong:\n{0}")]
    Config(#[from] ConfigErrors),
    /// Exit status 1.
    #[error("{}", .0.join("\n"))]
    Check(Vec<String>),
    /// Exit status 1.
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    /// Exit status 1.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, #[source] std::io::Error),
}

impl From<&RunError> for ExitCode {
    fn from(error: &RunError) -> Self {
        match error {
            RunError::Usage(_) | RunError::Config(_) => Self::from(2),
            RunError::Check(_) | RunError::Store(_) | RunError::Listen(..) => Self::from(1),
        }
    }
}

/// What the arguments ask for.
enum Command {
    Serve { development: bool },
    Check,
    AskHealth,
    Print(&'static str),
}

fn understand(arguments: impl Iterator<Item = String>) -> Result<Command, RunError> {
    let (mut development, mut checks) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--dev" => development = true,
            "--check" => checks = true,
            "--healthy" => return Ok(Command::AskHealth),
            "--help" | "-h" => return Ok(Command::Print(USAGE)),
            "--version" | "-V" => return Ok(Command::Print(concat!("notify-server ", env!("CARGO_PKG_VERSION")))),
            unknown => return Err(RunError::Usage(format!("unknown argument {unknown:?}"))),
        }
    }
    match (development, checks) {
        (true, true) => Err(RunError::Usage("--dev makes settings up, so that there is nothing to check".to_owned())),
        (false, true) => Ok(Command::Check),
        _ => Ok(Command::Serve { development }),
    }
}

/// Does what the arguments say; where that is to serve, until the process is told to stop.
///
/// # Errors
/// Where the arguments or the settings are wrong, or the server cannot start.
pub async fn run(arguments: impl Iterator<Item = String>) -> Result<(), RunError> {
    match understand(arguments)? {
        Command::Print(text) => {
            println!("{text}");
            Ok(())
        }
        Command::Check => {
            print!("{}", check(&Config::from_source(&Environment)?).await?);
            Ok(())
        }
        Command::AskHealth => ask_health(&Config::from_source(&Environment)?).await,
        Command::Serve { development: false } => start(Arc::new(Environment), None).await,
        Command::Serve { development: true } => {
            let made_up = Arc::new(dev::Made::up(&Environment));
            let outcome = start(made_up.clone(), Some(&made_up)).await;
            made_up.clean_up();
            outcome
        }
    }
}

async fn start(settings: Arc<dyn Source + Send + Sync>, made_up: Option<&dev::Made>) -> Result<(), RunError> {
    let config = Config::from_source(&*settings)?;
    let stopped = stopped();
    let (store, place) = config.store.describe();
    tracing::info!("the store is {store}, {place}");
    // Whoever tries the server out has nothing to be warned of.
    for warning in config.warnings.iter().filter(|_| made_up.is_none()) {
        tracing::warn!("{warning}");
    }
    let keys = Arc::new(Keys::new(config.tokens.keys.clone(), config.tokens.grace));
    let collaborators = Collaborators::with_keys(&config, keys.clone())?;
    if let Some(peers) = &collaborators.peers {
        peers.check().await?;
    }
    let mut rotation = Rotation::new(settings, &config, keys, collaborators.credentials.clone());
    rotation.begin().await;
    tokio::spawn(rotation.follow());
    let cannot_listen = |(place, error)| RunError::Listen(place, error);
    let listeners = Listeners::open(&config).await.map_err(cannot_listen)?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(|error| cannot_listen((String::new(), error)));
    let bound = address(&listeners.main)?;
    if let Some(made_up) = made_up {
        println!("{}", made_up.explain(&collaborators, bound).await?);
    }
    tracing::info!("listening on http://{bound}");
    if let Some(control) = &listeners.control {
        tracing::info!("the control surface is at http://{}", address(control)?);
    }
    if let Some(metrics) = &listeners.metrics {
        tracing::info!("metrics are at http://{}/metrics", address(metrics)?);
    }
    let mut app = App::new(collaborators);
    if let Some(made_up) = made_up {
        app.router = app.router.merge(page::routes(dev::USER, made_up.token().as_deref(), app.service.clone()));
    }
    serve(listeners, app, stopped).await;
    Ok(())
}

/// Completes on SIGTERM or SIGINT. Listens from the call on, so that neither kills the process later while it starts.
fn stopped() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let signals = {
        use signal::unix::{SignalKind, signal};
        [SignalKind::terminate(), SignalKind::interrupt()].map(signal)
    };
    async move {
        #[cfg(unix)]
        if let [Ok(mut terminated), Ok(mut interrupted)] = signals {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            return;
        }
        signal::ctrl_c().await.ok();
    }
}
