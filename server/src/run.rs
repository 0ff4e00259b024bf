//! What the binary does, from its arguments to its exit status.

use std::{net::SocketAddr, process::ExitCode};

use tokio::{net::TcpListener, signal};

use crate::{
    app::{App, Collaborators},
    config::{Config, ConfigErrors, Environment, Source},
    dev,
    serve::serve,
    store::StoreError,
};

/// How the binary is called.
pub const USAGE: &str = "usage: notify-server [--dev]\n\n  --dev      make up the secrets that are not set, and print how to try the server\n  --help     print this\n  --version  print the version\n\nSettings are environment variables; see the README.";

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
            RunError::Store(_) | RunError::Listen(..) => Self::from(1),
        }
    }
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// Where it cannot start.
pub async fn run(arguments: impl Iterator<Item = String>) -> Result<(), RunError> {
    let mut development = false;
    for argument in arguments {
        match argument.as_str() {
            "--dev" => development = true,
            "--help" | "-h" => return print(USAGE),
            "--version" | "-V" => {
                return print(concat!("notify-server ", env!("CARGO_PKG_VERSION")));
            }
            unknown => return Err(RunError::Usage(format!("unknown argument {unknown:?}"))),
        }
    }
    let made_up = development.then(|| dev::Made::up(&Environment));
    let source: &dyn Source = made_up.as_ref().map_or(&Environment, |made_up| made_up);
    let config = Config::from_source(source)?;
    let collaborators = Collaborators::from_config(&config)?;
    let address = (config.host.as_str(), config.port);
    let cannot_listen = |error| RunError::Listen(format!("{}:{}", config.host, config.port), error);
    let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
    let bound = listener.local_addr().map_err(cannot_listen)?;
    if let Some(made_up) = &made_up {
        made_up.explain(&collaborators, bound).await?;
    }
    announce(bound);
    serve(listener, App::new(collaborators), stopped()).await;
    if let Some(made_up) = &made_up {
        made_up.clean_up();
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "printing is one of the outcomes of a run")]
fn print(text: &str) -> Result<(), RunError> {
    println!("{text}");
    Ok(())
}

fn announce(bound: SocketAddr) {
    tracing::info!("listening on http://{bound}");
}

/// Completes on SIGTERM or SIGINT.
async fn stopped() {
    #[cfg(unix)]
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut terminated) => drop(terminated.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending();
    tokio::select! {
        _ = signal::ctrl_c() => {}
        () = terminated => {}
    }
}
