//! Every setting, its variable and its default. The source is injected; all errors are reported at once.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::Read,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey};

use crate::{
    gate::Bounds,
    origins::Origins,
    proxies::TrustedProxies,
    socketio::Heartbeat,
    store::{Limits, redis::RedisConfig},
};

mod keys;
mod redis;

/// No secret is longer; a file that is one without end is not read to its end.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The most that a queue can be told to hold: it is delivered in one event.
const MAX_QUEUE_EVENTS: u64 = 10_000;

/// More than there can be of anything that is counted.
const MAX_COUNT: u64 = 10_000_000;

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
    /// `STORE=redis`, the default where `REDIS_URL` or `REDIS_HOST` is set.
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
    /// `TRUSTED_PROXIES`, default none.
    pub trusted_proxies: TrustedProxies,
    /// `JWT_ALGORITHM`, default HS256 with `JWT_SECRET` and RS256 with `JWT_PUBLIC_KEY` (CONF-04).
    pub algorithm: Algorithm,
    /// `JWT_SECRET` or `JWT_PUBLIC_KEY`, or the file that one of them is in (CONF-01).
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
    /// `KEEP_ALIVE_SECONDS`, default 75.
    pub keep_alive: Duration,
    /// `MAX_CONNECTIONS` and its kin.
    pub bounds: Bounds,
    /// What is right and probably not meant, one sentence each.
    pub warnings: Vec<String>,
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
        let mut reader = Reader { source, errors: Vec::new(), warnings: Vec::new() };
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
    warnings: Vec<String>,
}

/// The two names of a secret: it is in the environment, or in a file, as container platforms hand it over.
#[derive(Clone, Copy)]
struct Variable {
    plain: &'static str,
    file: &'static str,
}

const INGEST_TOKEN: Variable = Variable { plain: "INGEST_TOKEN", file: "INGEST_TOKEN_FILE" };

impl Reader<'_> {
    /// `None` only where an error was noted.
    fn config(&mut self) -> Option<Config> {
        let host = self.host();
        let port = self.number("PORT", 3000, 0, u64::from(u16::MAX));
        let origins = self.origins();
        let trusted_proxies = self.trusted_proxies();
        let token = self.token_key();
        let ingest_token = self.ingest_token();
        let max_events = self.number("QUEUE_MAX_EVENTS", 50, 1, MAX_QUEUE_EVENTS);
        let ttl = self.number("QUEUE_TTL_SECONDS", 86_400, 1, 10 * 365 * 86_400);
        let store = self.store();
        let ack_timeout = self.number("ACK_TIMEOUT_SECONDS", 10, 1, 3_600);
        let ping_interval = self.number("PING_INTERVAL_SECONDS", 25, 1, 3_600);
        let ping_timeout = self.number("PING_TIMEOUT_SECONDS", 20, 1, 3_600);
        let keep_alive = self.number("KEEP_ALIVE_SECONDS", 75, 1, 3_600);
        let bounds = self.bounds();
        let (algorithm, key) = token?;
        Some(Config {
            host: host?,
            port: u16::try_from(port?).ok()?,
            origins: origins?,
            trusted_proxies: trusted_proxies?,
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
            keep_alive: Duration::from_secs(keep_alive?),
            bounds: bounds?,
            warnings: std::mem::take(&mut self.warnings),
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

    fn bounds(&mut self) -> Option<Bounds> {
        let usual = Bounds::default();
        // The least number stands for a variable that is not set; there is no bound of none.
        let connections = self.count("MAX_CONNECTIONS", 0);
        let pending = self.count("MAX_PENDING_CONNECTIONS", usual.pending);
        let pending_per_address = self.count("MAX_PENDING_PER_ADDRESS", usual.pending_per_address);
        let devices_per_user = self.count("MAX_DEVICES_PER_USER", usual.devices_per_user);
        let events = self.number("MAX_EVENTS_PER_SECOND", usual.events_per_second.into(), 1, MAX_COUNT);
        let refreshes = self.number("MAX_REFRESHES_PER_SECOND", usual.refreshes_per_second.into(), 1, MAX_COUNT);
        Some(Bounds {
            connections: connections.map(|many| (many > 0).then_some(many))?,
            pending: pending?,
            pending_per_address: pending_per_address?,
            devices_per_user: devices_per_user?,
            events_per_second: u32::try_from(events?).ok()?,
            refreshes_per_second: u32::try_from(refreshes?).ok()?,
        })
    }

    fn count(&mut self, variable: &'static str, default: usize) -> Option<usize> {
        self.number(variable, default as u64, 1, MAX_COUNT).and_then(|number| usize::try_from(number).ok())
    }

    fn origins(&mut self) -> Option<Origins> {
        let list = self.text("CORS_ORIGIN").unwrap_or_else(|| "http://localhost:3001".into());
        match Origins::parse(&list) {
            Ok(origins) => Some(origins),
            Err(problem) => self.error("CORS_ORIGIN", problem),
        }
    }

    fn trusted_proxies(&mut self) -> Option<TrustedProxies> {
        let list = self.text("TRUSTED_PROXIES").unwrap_or_default();
        match TrustedProxies::parse(&list) {
            Ok(proxies) => Some(proxies),
            Err(problem) => self.error("TRUSTED_PROXIES", problem),
        }
    }

    fn ingest_token(&mut self) -> Option<Secret> {
        match self.secret(INGEST_TOKEN)? {
            Some((_, token)) if token.bytes().all(|byte| byte.is_ascii_graphic()) => Some(token.into()),
            Some((variable, _)) => self.error(variable, "must be visible ASCII, to go into a header"),
            None => self.error(INGEST_TOKEN.plain, "is not set; there is no default for a secret"),
        }
    }

    fn host(&mut self) -> Option<String> {
        let host = self.text("HOST").unwrap_or_else(|| "127.0.0.1".into());
        match host_name(&host) {
            Ok(host) => Some(host),
            Err(problem) => self.error("HOST", problem),
        }
    }

    /// What is set, and by which of the two variables; `None` where an error was noted. Neither a value nor a path is shown: the
    /// secret itself may have been taken for the path.
    fn secret(&mut self, variable: Variable) -> Option<Option<(&'static str, String)>> {
        let Variable { plain, file } = variable;
        let path = match (self.text(plain), self.text(file)) {
            (Some(_), Some(_)) => return self.error(file, format!("is set, and so is {plain}: set one of the two")),
            (Some(value), None) => return Some(Some((plain, value))),
            (None, None) => return Some(None),
            (None, Some(path)) => path,
        };
        let mut value = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut value));
        // An editor ends a file with a line break that is no part of the secret.
        value.truncate(value.trim_end_matches(['\r', '\n']).len());
        match read {
            Err(error) => self.error(file, format!("names a file that cannot be read: {}", error.kind())),
            Ok(_) if value.is_empty() => self.error(file, "names a file that is empty"),
            Ok(_) => Some(Some((file, value))),
        }
    }
}

/// A name or an address, without the brackets that an IPv6 address has in a URL.
fn host_name(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    let name =
        |host: &str| !host.is_empty() && host.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it));
    // An address with its zone, as fe80::1%eth0.
    let zoned = bare.split_once('%').is_some_and(|(address, zone)| address.parse::<Ipv6Addr>().is_ok() && name(zone));
    if zoned || name(text) {
        return Ok(bare.to_owned());
    }
    Err(match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && host_name(host).is_ok() => {
            "has a port at its end; that belongs into PORT".to_owned()
        }
        _ => "must be a name or an address alone, such as localhost, 127.0.0.1, :: or 0.0.0.0 (every address of the machine)"
            .to_owned(),
    })
}
