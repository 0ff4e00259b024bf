//! Follows keys and credentials that change: in files, and at the URL of a key set. Without it a new one takes a restart, and there is no
//! `JWT_JWKS_URL`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::fetch;
use crate::{
    auth::{
        jwks,
        keys::{Key, Keys},
    },
    config::{self, Config, Source},
    http::credential::Credentials,
};

/// How often files are read. They are few and small, and no clock of a file system has to be trusted so.
const FILES_EVERY: Duration = Duration::from_secs(2);

/// How long after that they are read again where they have changed: whoever writes them may be in the middle of it.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// How long after a URL has failed it is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// How often it is looked at the most, whoever asks for it.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// How long the start waits for the first keys.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// Keeps keys and credentials up to date.
pub struct Rotation {
    source: Arc<dyn Source + Send + Sync>,
    keys: Arc<Keys>,
    credentials: Arc<Credentials>,
    /// Whether keys are at a URL, or in a file.
    fetches: bool,
    follows: bool,
    /// Whether anything is in a file.
    reads: bool,
    /// When the URL is due.
    due: Instant,
    /// What was wrong when it was looked last; told once.
    problem: Option<String>,
    hangups: Hangups,
}

impl Rotation {
    /// For what was read from these settings.
    #[must_use]
    pub fn new(
        source: Arc<dyn Source + Send + Sync>,
        config: &Config,
        keys: Arc<Keys>,
        credentials: Arc<Credentials>,
    ) -> Self {
        let fetches = config.tokens.url.is_some();
        let follows = fetches || config.tokens.from_file;
        let reads = config.tokens.from_file || source.get("INGEST_TOKEN_FILE").is_some_and(|file| !file.is_empty());
        // From here on, so that none ends the process while it starts.
        let hangups = hangups();
        Self { source, keys, credentials, fetches, follows, reads, due: Instant::now(), problem: None, hangups }
    }

    /// Looks for the first keys, where they are at a URL. Where there are none yet, the server starts all the same: it is not ready.
    pub async fn begin(&mut self) {
        if self.fetches {
            timeout(FIRST_WITHIN, self.look(true)).await.ok();
        }
    }

    /// Follows from now on, and looks at once on SIGHUP.
    pub async fn follow(mut self) {
        let mut files = interval(FILES_EVERY);
        files.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let keys = self.keys.clone();
            let is_due = tokio::select! {
                _ = files.tick(), if self.reads => false,
                () = sleep_until(self.due), if self.fetches => true,
                () = keys.asked() => true,
                () = self.hangups.next() => {
                    tracing::info!("told to look for keys and credentials");
                    true
                }
            };
            let began = Instant::now();
            self.look(is_due).await;
            if is_due {
                sleep_until(began + AT_MOST_EVERY).await;
            }
        }
    }

    /// Reads the settings anew, and the URL where it is due.
    async fn look(&mut self, is_due: bool) {
        let began = Instant::now();
        let read = async || {
            let source = self.source.clone();
            tokio::task::spawn_blocking(move || config::Credentials::from_source(&*source)).await
        };
        let mut found = read().await;
        if matches!(&found, Ok(Ok(found)) if self.is_news(found)) {
            sleep(SETTLED_AFTER).await;
            found = read().await;
        }
        let outcome = match found {
            Ok(Ok(found)) => self.take(found, is_due).await,
            Ok(Err(errors)) => Err(errors.to_string()),
            // The runtime ends.
            Err(_) => return,
        };
        match (&outcome, &self.problem) {
            (Err(problem), last) if last.as_ref() != Some(problem) => {
                tracing::warn!("the keys and credentials that were known stay in use: {problem}");
            }
            (Ok(()), Some(_)) => tracing::info!("keys and credentials can be read again"),
            _ => {}
        }
        self.problem = outcome.as_ref().err().cloned();
        if self.follows && (is_due || !self.fetches) {
            self.keys.looked(began, outcome.is_ok());
        }
    }

    fn is_news(&self, found: &config::Credentials) -> bool {
        self.credentials.differ(&found.ingest_tokens) || (!self.fetches && self.keys.differ(&found.tokens.keys))
    }

    async fn take(&mut self, found: config::Credentials, is_due: bool) -> Result<(), String> {
        if self.credentials.differ(&found.ingest_tokens) {
            tracing::info!(credentials = found.ingest_tokens.len(), "the service credentials have changed");
            self.credentials.replace(found.ingest_tokens);
        }
        let tokens = found.tokens;
        let Some(url) = &tokens.url else {
            self.renew(tokens.keys);
            return Ok(());
        };
        if !is_due {
            return self.problem.clone().map_or(Ok(()), Err);
        }
        let text = fetch::text(url).await;
        let keys = text
            .map_err(|error| error.to_string())
            .and_then(|text| jwks::read(&text, tokens.algorithm).map_err(|problem| format!("there is {problem}")));
        self.due = Instant::now() + if keys.is_ok() { tokens.refresh } else { RETRY.min(tokens.refresh) };
        self.renew(keys.map_err(|problem| format!("JWT_JWKS_URL: {problem}"))?);
        Ok(())
    }

    fn renew(&self, keys: Vec<Key>) {
        let (new, gone) = self.keys.replace(keys);
        if (new, gone) != (0, 0) {
            tracing::info!(new, gone, "the keys that tokens are verified with have changed");
        }
    }
}

/// The SIGHUPs of this process from now on; they would end it otherwise.
fn hangups() -> Hangups {
    #[cfg(unix)]
    return Hangups(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok());
    #[cfg(not(unix))]
    Hangups
}

#[cfg(unix)]
struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(not(unix))]
struct Hangups;

impl Hangups {
    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.0
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
