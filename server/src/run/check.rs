//! `--check`: looks whether the server could start and work with these settings, and says what is wrong. Without it that is found out by
//! starting. `--healthy` asks a server that runs, for images in which nothing else could.

use std::{fmt::Write, time::Duration};

use tokio::time::{Instant, sleep};

use super::RunError;
use crate::{app::Collaborators, auth::jwks, config::Config, ops::fetch};

/// How long the store may take to answer.
const STORE_WITHIN: Duration = Duration::from_secs(5);

/// How often it is asked meanwhile: it tells nobody.
const EVERY: Duration = Duration::from_millis(50);

/// A report of everything that is well.
///
/// # Errors
/// Where something is not; with all of it.
pub(super) async fn check(config: &Config) -> Result<String, RunError> {
    let mut report = "settings  can be read\n".to_owned();
    let mut problems = Vec::new();
    for warning in &config.warnings {
        writeln!(report, "warning   {warning}").expect("a text can be written to");
    }
    let (kind, place) = config.store.describe();
    match store(config).await {
        Ok(()) => writeln!(report, "store     {kind} {place}, answers").expect("a text can be written to"),
        Err(problem) => problems.push(format!("the store, {kind} {place}: {problem}")),
    }
    let keys = match &config.tokens.url {
        None => Ok(config.tokens.keys.len()),
        Some(url) => match fetch::text(url).await {
            Ok(text) => jwks::read(&text, config.tokens.algorithm).map(|keys| keys.len()),
            Err(error) => Err(error.to_string()),
        },
    };
    match keys {
        Ok(many) => writeln!(report, "keys      {many}").expect("a text can be written to"),
        Err(problem) => problems.push(format!("JWT_JWKS_URL: {problem}")),
    }
    if problems.is_empty() { Ok(report) } else { Err(RunError::Check(problems)) }
}

/// Asks the server that runs with these settings whether it serves.
///
/// # Errors
/// Where it does not.
pub(super) async fn ask_health(config: &Config) -> Result<(), RunError> {
    let host = match config.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let problem = |error: String| RunError::Check(vec![error]);
    let url = format!("http://{host}:{}/healthz", config.port).parse();
    let url = url.map_err(|_| problem(format!("HOST has no place in a URL: {host}")))?;
    fetch::text(&url).await.map(drop).map_err(|error| problem(error.to_string()))
}

async fn store(config: &Config) -> Result<(), String> {
    let collaborators = Collaborators::from_config(config).map_err(|error| error.to_string())?;
    if let Some(peers) = &collaborators.peers {
        peers.check().await.map_err(|error| error.to_string())?;
    }
    let began = Instant::now();
    loop {
        match collaborators.queue.probe().await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > STORE_WITHIN => return Err(error.kind().into_owned()),
            Err(_) => sleep(EVERY).await,
        }
    }
}
