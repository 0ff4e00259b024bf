//! Every setting, its variable and its default. The source is injected; all errors are reported at once.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    gate::Bounds,
    model::Secret,
    origins::Origins,
    proxies::TrustedProxies,
    socketio::Heartbeat,
    store::{Limits, redis::RedisConfig},
};

mod keys;
mod redis;

pub use keys::TokenConfig;

/// No secret is longer; a file that is one without end is not read to its end.
const MAX_SECRET_BYTES: u64 = 1024 * 1024;

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

/// Which store is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum StoreConfig {
    /// `STORE=redis`, the default where `REDIS_URL` or `REDIS_HOST` is set.
    Redis(RedisConfig),
    /// `STORE=embedded`, in `DATA_DIR` (default `./data`).
    Embedded(PathBuf),
}

impl StoreConfig {
    /// Its kind, and where it is, for the log and for reports.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Redis(redis) => ("redis", redis.place()),
            Self::Embedded(directory) => ("embedded", format!("in {}", directory.display())),
        }
    }
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
    /// `CONTROL_HOST`, default `HOST`, and `CONTROL_PORT`: where the control surface is, if not beside the sockets.
    pub control: Option<(String, u16)>,
    /// `METRICS_HOST`, default `HOST`, and `METRICS_PORT`: where `/metrics` is, if not beside the control surface.
    pub metrics: Option<(String, u16)>,
    /// `JWT_…`: what tokens are verified with.
    pub tokens: TokenConfig,
    /// `INGEST_TOKEN`, the service credential (EMIT-01); two while it changes.
    pub ingest_tokens: Vec<Secret>,
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

impl Credentials {
    /// Reads them alone, and the files in which they are.
    ///
    /// # Errors
    /// Where one is missing or wrong; names all of them.
    pub fn from_source(source: &dyn Source) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { source, errors: Vec::new(), warnings: Vec::new() };
        match (reader.tokens(), reader.ingest_tokens()) {
            (Some(tokens), Some(ingest_tokens)) if reader.errors.is_empty() => Ok(Self { tokens, ingest_tokens }),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// What may change while the server runs.
pub struct Credentials {
    /// What tokens are verified with.
    pub tokens: TokenConfig,
    /// The service credentials.
    pub ingest_tokens: Vec<Secret>,
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
        let host = self.host("HOST");
        let port = self.number("PORT", 3000, 0, u64::from(u16::MAX));
        let origins = self.origins();
        let trusted_proxies = self.trusted_proxies();
        let control_host = self.host("CONTROL_HOST");
        let control_port = self.number("CONTROL_PORT", 0, 1, u16::MAX.into());
        let metrics_host = self.host("METRICS_HOST");
        let metrics_port = self.number("METRICS_PORT", 0, 1, u16::MAX.into());
        let tokens = self.tokens();
        let ingest_tokens = self.ingest_tokens();
        let max_events = self.number("QUEUE_MAX_EVENTS", 50, 1, MAX_QUEUE_EVENTS);
        let ttl = self.number("QUEUE_TTL_SECONDS", 86_400, 1, 10 * 365 * 86_400);
        let store = self.store();
        let ack_timeout = self.number("ACK_TIMEOUT_SECONDS", 10, 1, 3_600);
        let ping_interval = self.number("PING_INTERVAL_SECONDS", 25, 1, 3_600);
        let ping_timeout = self.number("PING_TIMEOUT_SECONDS", 20, 1, 3_600);
        let keep_alive = self.number("KEEP_ALIVE_SECONDS", 75, 1, 3_600);
        let bounds = self.bounds();
        let host = host?.unwrap_or_else(|| "127.0.0.1".into());
        let place = |own: Option<String>, port: u64| {
            let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
            Some((own.unwrap_or_else(|| host.clone()), port))
        };
        let (control, metrics) = (place(control_host?, control_port?), place(metrics_host?, metrics_port?));
        Some(Config {
            host,
            port: u16::try_from(port?).ok()?,
            origins: origins?,
            trusted_proxies: trusted_proxies?,
            control,
            metrics,
            tokens: tokens?,
            ingest_tokens: ingest_tokens?,
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

    /// One on each line, two at the most: the next one is known before the last is forgotten.
    fn ingest_tokens(&mut self) -> Option<Vec<Secret>> {
        let Some((variable, text)) = self.secret(INGEST_TOKEN)? else {
            return self.error(INGEST_TOKEN.plain, "is not set; there is no default for a secret");
        };
        let tokens: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        match tokens.as_slice() {
            [_] | [_, _] if tokens.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) => {
                Some(tokens.into_iter().map(|token| token.to_owned().into()).collect())
            }
            [_] | [_, _] => self.error(variable, "must be visible ASCII, to go into a header"),
            _ => self.error(
                variable,
                "must be one credential, or two on a line each while one takes the place of the other",
            ),
        }
    }

    /// `Some(None)` where it is not set.
    fn host(&mut self, variable: &'static str) -> Option<Option<String>> {
        let Some(host) = self.text(variable) else { return Some(None) };
        match host_name(&host) {
            Ok(host) => Some(Some(host)),
            Err(problem) => self.error(variable, problem.replace("PORT", &variable.replace("HOST", "PORT"))),
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
        self.contents(file, &path).map(|value| Some((file, value)))
    }

    /// What is in the file that a variable names.
    fn contents(&mut self, variable: &'static str, path: &str) -> Option<String> {
        let mut value = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut value));
        // An editor ends a file with a line break that is no part of the secret.
        value.truncate(value.trim_end_matches(['\r', '\n']).len());
        match read {
            Err(error) => self.error(variable, format!("names a file that cannot be read: {}", error.kind())),
            Ok(_) if value.is_empty() => self.error(variable, "names a file that is empty"),
            Ok(_) => Some(value),
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
