//! Every setting, its variable and its default. The source is injected; all errors are reported at once.

use std::{collections::HashMap, fmt, path::PathBuf, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey};

use crate::{
    origins::Origins,
    socketio::Heartbeat,
    store::{Limits, redis::RedisConfig},
};

/// The most that a queue can be told to hold: it is delivered in one event.
const MAX_QUEUE_EVENTS: u64 = 10_000;

/// Where settings come from.
pub trait Source {
    /// The value of a variable, if it is set.
    fn get(&self, variable: &str) -> Option<String>;
}

/// The environment of the process.
#[derive(Debug, Clone, Copy)]
pub struct Environment;

impl Source for Environment {
    fn get(&self, variable: &str) -> Option<String> {
        Some(std::env::var_os(variable)?.to_string_lossy().into_owned())
    }
}

impl Source for HashMap<String, String> {
    fn get(&self, variable: &str) -> Option<String> {
        Self::get(self, variable).cloned()
    }
}

/// Something that no log line and no error may show (AUTH-24, CONF-03).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Which store is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// `STORE=redis`, the default where `REDIS_HOST` is set.
    Redis(RedisConfig),
    /// `STORE=embedded`, in `DATA_DIR` (default `./data`).
    Embedded(PathBuf),
}

/// Every setting.
pub struct Config {
    /// `HOST`, default 127.0.0.1: not reachable from elsewhere unless that is asked for.
    pub host: String,
    /// `PORT`, default 3000; 0 takes any that is free.
    pub port: u16,
    /// `CORS_ORIGIN`, default `http://localhost:3001`.
    pub origins: Origins,
    /// `JWT_ALGORITHM`, default HS256 with `JWT_SECRET` and RS256 with `JWT_PUBLIC_KEY` (CONF-04).
    pub algorithm: Algorithm,
    /// `JWT_SECRET` or `JWT_PUBLIC_KEY` (CONF-01).
    pub key: DecodingKey,
    /// `INGEST_TOKEN`, the service credential (EMIT-01).
    pub ingest_token: Secret,
    /// `QUEUE_MAX_EVENTS`, default 50 (CONF-05), and `QUEUE_TTL_SECONDS`, default 86400.
    pub limits: Limits,
    /// `STORE`, and what belongs to each.
    pub store: StoreConfig,
    /// `ACK_TIMEOUT_SECONDS`, default 10.
    pub ack_timeout: Duration,
    /// `PING_INTERVAL_SECONDS`, default 25, and `PING_TIMEOUT_SECONDS`, default 20 (HEART-04).
    pub heartbeat: Heartbeat,
}

/// What is wrong with one variable. Never shows a value that may be a secret (CONF-03).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Everything that is wrong (CONF-02).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl Config {
    /// Reads every setting. A variable that is empty counts as not set.
    ///
    /// # Errors
    /// Where any variable is missing or wrong; names all of them.
    pub fn from_source(source: &dyn Source) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { source, errors: Vec::new() };
        let config = reader.config();
        match config {
            Some(config) if reader.errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// Reads variables and remembers what was wrong with them.
struct Reader<'a> {
    source: &'a dyn Source,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    /// `None` only where an error was noted.
    fn config(&mut self) -> Option<Config> {
        let host = self.text("HOST").unwrap_or_else(|| "127.0.0.1".into());
        let port = self.number("PORT", 3000, 0, u64::from(u16::MAX));
        let origins = self.origins();
        let token = self.token_key();
        let ingest_token = self.ingest_token();
        let max_events = self.number("QUEUE_MAX_EVENTS", 50, 1, MAX_QUEUE_EVENTS);
        let ttl = self.number("QUEUE_TTL_SECONDS", 86_400, 1, 10 * 365 * 86_400);
        let store = self.store();
        let ack_timeout = self.number("ACK_TIMEOUT_SECONDS", 10, 1, 3_600);
        let ping_interval = self.number("PING_INTERVAL_SECONDS", 25, 1, 3_600);
        let ping_timeout = self.number("PING_TIMEOUT_SECONDS", 20, 1, 3_600);
        let (algorithm, key) = token?;
        Some(Config {
            host,
            port: u16::try_from(port?).ok()?,
            origins: origins?,
            algorithm,
            key,
            ingest_token: ingest_token?,
            limits: Limits { max_events: usize::try_from(max_events?).ok()?, ttl: Duration::from_secs(ttl?) },
            store: store?,
            ack_timeout: Duration::from_secs(ack_timeout?),
            heartbeat: Heartbeat {
                interval: Duration::from_secs(ping_interval?),
                timeout: Duration::from_secs(ping_timeout?),
            },
        })
    }

    fn text(&self, variable: &str) -> Option<String> {
        self.source.get(variable).filter(|value| !value.is_empty())
    }

    fn error<T>(&mut self, variable: &'static str, problem: impl Into<String>) -> Option<T> {
        self.errors.push(ConfigError { variable, problem: problem.into() });
        None
    }

    fn number(&mut self, variable: &'static str, default: u64, min: u64, max: u64) -> Option<u64> {
        let Some(value) = self.text(variable) else {
            return Some(default);
        };
        match value.parse() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => self.error(variable, format!("must be a whole number from {min} to {max}")),
        }
    }

    fn origins(&mut self) -> Option<Origins> {
        let list = self.text("CORS_ORIGIN").unwrap_or_else(|| "http://localhost:3001".into());
        match Origins::parse(&list) {
            Ok(origins) => Some(origins),
            Err(problem) => self.error("CORS_ORIGIN", problem),
        }
    }

    fn ingest_token(&mut self) -> Option<Secret> {
        match self.text("INGEST_TOKEN") {
            Some(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => Some(token.into()),
            Some(_) => self.error("INGEST_TOKEN", "must be visible ASCII, to go into a header"),
            None => self.error("INGEST_TOKEN", "is not set; there is no default for a secret"),
        }
    }

    fn token_key(&mut self) -> Option<(Algorithm, DecodingKey)> {
        let (secret, public) = (self.text("JWT_SECRET"), self.text("JWT_PUBLIC_KEY"));
        let named = self.text("JWT_ALGORITHM");
        let default = if secret.is_none() && public.is_some() { "RS256" } else { "HS256" };
        let algorithm = match named.as_deref().unwrap_or(default) {
            "HS256" => Some(Algorithm::HS256),
            "HS384" => Some(Algorithm::HS384),
            "HS512" => Some(Algorithm::HS512),
            "RS256" => Some(Algorithm::RS256),
            "ES256" => Some(Algorithm::ES256),
            "EdDSA" => Some(Algorithm::EdDSA),
            _ => self.error("JWT_ALGORITHM", "must be one of HS256, HS384, HS512, RS256, ES256 and EdDSA"),
        };
        if secret.is_none() && public.is_none() {
            return self
                .error("JWT_SECRET", "is not set, and neither is JWT_PUBLIC_KEY; there is no default for a secret");
        }
        let algorithm = algorithm?;
        let key = match (algorithm, secret, public) {
            (Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512, Some(secret), _) => {
                Some(DecodingKey::from_secret(secret.as_bytes()))
            }
            (Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512, None, _) => {
                self.error("JWT_SECRET", "is not set, but JWT_ALGORITHM wants a secret")
            }
            (_, _, Some(pem)) => self.public_key(algorithm, &pem),
            (_, _, None) => self.error("JWT_PUBLIC_KEY", "is not set, but JWT_ALGORITHM wants a public key"),
        };
        Some((algorithm, key?))
    }

    fn public_key(&mut self, algorithm: Algorithm, pem: &str) -> Option<DecodingKey> {
        // Environment files often hold a PEM in one line.
        let pem = pem.replace("\\n", "\n");
        let key = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            _ => DecodingKey::from_ed_pem(pem.as_bytes()),
        };
        match key {
            Ok(key) => Some(key),
            Err(_) => self.error("JWT_PUBLIC_KEY", format!("must be a public key for {algorithm:?} in PEM format")),
        }
    }

    fn store(&mut self) -> Option<StoreConfig> {
        let host = self.text("REDIS_HOST");
        let default = if host.is_some() { "redis" } else { "embedded" };
        let port = self.number("REDIS_PORT", 6379, 1, u64::from(u16::MAX));
        let db = self.number("REDIS_DB", 0, 0, u64::from(u16::MAX));
        match self.text("STORE").as_deref().unwrap_or(default) {
            "redis" => Some(StoreConfig::Redis(RedisConfig {
                host: host.unwrap_or_else(|| "localhost".into()),
                port: u16::try_from(port?).ok()?,
                password: self.text("REDIS_PASSWORD").map(Secret::from),
                db: i64::try_from(db?).ok()?,
            })),
            "embedded" => {
                let directory = self.text("DATA_DIR").unwrap_or_else(|| "data".into());
                Some(StoreConfig::Embedded(directory.into()))
            }
            _ => self.error("STORE", "must be redis or embedded"),
        }
    }
}
