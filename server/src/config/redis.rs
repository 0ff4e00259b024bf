//! Which store is used, and where Redis is: by a URL, or by a host and what belongs to it.

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::{Reader, StoreConfig, Variable, host_name};
use crate::{
    model::Secret,
    store::redis::{Address, RedisConfig, Sentinels, Tls, TlsError},
};

const URL: Variable = Variable { plain: "REDIS_URL", file: "REDIS_URL_FILE" };
const PASSWORD: Variable = Variable { plain: "REDIS_PASSWORD", file: "REDIS_PASSWORD_FILE" };

const AUTHORITY: Variable = Variable { plain: "REDIS_TLS_CA", file: "REDIS_TLS_CA_FILE" };
const CERTIFICATE: Variable = Variable { plain: "REDIS_TLS_CERT", file: "REDIS_TLS_CERT_FILE" };
const KEY: Variable = Variable { plain: "REDIS_TLS_KEY", file: "REDIS_TLS_KEY_FILE" };
const SERVER_NAME: &str = "REDIS_TLS_SERVER_NAME";
const CLUSTER: &str = "REDIS_CLUSTER";
const SENTINELS: &str = "REDIS_SENTINELS";
const MASTER: &str = "REDIS_SENTINEL_MASTER";
const SENTINEL_USERNAME: &str = "REDIS_SENTINEL_USERNAME";
const SENTINEL_PASSWORD: Variable = Variable { plain: "REDIS_SENTINEL_PASSWORD", file: "REDIS_SENTINEL_PASSWORD_FILE" };

/// What shows that somebody means to use Redis.
const MEANT: [&str; 5] = [URL.plain, URL.file, SENTINELS, "REDIS_HOST", "STORE"];
/// What belongs to a Redis whose place is not told.
const BELONGS: [&str; 6] = ["REDIS_PORT", "REDIS_USERNAME", PASSWORD.plain, PASSWORD.file, "REDIS_DB", CLUSTER];

impl Reader<'_> {
    pub(super) fn store(&mut self) -> Option<StoreConfig> {
        let named = self.text("STORE");
        let has_place = MEANT.iter().any(|name| *name != "STORE" && self.text(name).is_some());
        match named.as_deref().unwrap_or(if has_place { "redis" } else { "embedded" }) {
            "redis" => Some(StoreConfig::Redis(self.redis()?)),
            "embedded" => {
                if named.is_none() {
                    self.warn_of_the_default();
                }
                let directory = self.text("DATA_DIR").unwrap_or_else(|| "data".into());
                Some(StoreConfig::Embedded(directory.into()))
            }
            _ => {
                // What is wrong beside it is told as well.
                self.redis();
                self.error("STORE", "must be redis or embedded")
            }
        }
    }

    /// A server that keeps the events of patients in a folder of its own, though it was to share a Redis, is found out when the
    /// folder is gone.
    fn warn_of_the_default(&mut self) {
        let belongs: Vec<_> = BELONGS.into_iter().filter(|name| self.text(name).is_some()).collect();
        let but = match belongs.as_slice() {
            [] => String::new(),
            some => format!(" ({} alone does not choose Redis)", some.join(", ")),
        };
        self.warnings.push(format!(
            "neither REDIS_URL nor REDIS_HOST nor STORE is set{but}: events are kept in the embedded store, in the folder \
             DATA_DIR of this one server. Set REDIS_URL, or STORE=embedded where that is meant"
        ));
    }

    fn redis(&mut self) -> Option<RedisConfig> {
        let password = self.secret(PASSWORD);
        let username = self.text("REDIS_USERNAME");
        let db = self.number("REDIS_DB", 0, 0, u64::from(u16::MAX));
        let (url, port) = (self.secret(URL), self.redis_port());
        let host = self.text("REDIS_HOST");
        let url = url?;
        let asks_for_tls = url.as_ref().filter(|(_, url)| url.starts_with("rediss://")).map(|(variable, _)| *variable);
        let tls = self.asks_for_tls(asks_for_tls).and_then(|asks| self.redis_tls(asks));
        let (sentinels, min_replicas) = (self.sentinels(), self.number("REDIS_MIN_REPLICAS", 0, 0, 100));
        let sentinels = sentinels?;
        let cluster = self.is_cluster();
        let place = match (url, host) {
            (url, host) if sentinels.is_some() => {
                let place = [
                    (url.map(|(variable, _)| variable), "names a place"),
                    (host.map(|_| "REDIS_HOST"), "names a place"),
                    (matches!(port, Some(Port::Number(_))).then_some("REDIS_PORT"), "is set"),
                ];
                for (variable, what) in place {
                    if let Some(variable) = variable {
                        let twice =
                            format!("{what}, and {SENTINELS} is set: it is the sentinels that say where Redis is");
                        self.error::<()>(variable, twice);
                    }
                }
                Some(RedisConfig::at("", 0))
            }
            (Some((variable, url)), host) => {
                let twice = [("REDIS_HOST", host.is_some()), ("REDIS_PORT", matches!(port, Some(Port::Number(_))))];
                for (name, _) in twice.into_iter().filter(|(_, is_set)| *is_set) {
                    self.error::<()>(name, format!("is set, and so is {variable}: set one of the two"));
                }
                self.redis_url(variable, &url)
            }
            (None, host) => self.redis_place(host, port),
        };
        let (mut redis, password) = (place?, password?);
        redis.tls = tls?;
        (redis.sentinels, redis.min_replicas) = (sentinels, min_replicas?);
        let password_variable = password.as_ref().map_or(PASSWORD.plain, |(variable, _)| variable);
        let in_url = [
            ("REDIS_USERNAME", username.is_some() && redis.username.is_some()),
            (password_variable, password.is_some() && redis.password.is_some()),
            (
                "REDIS_DB",
                self.text("REDIS_DB").is_some()
                    && redis.db != 0
                    && Some(redis.db) != db.and_then(|it| it.try_into().ok()),
            ),
        ];
        for (name, _) in in_url.into_iter().filter(|(_, twice)| *twice) {
            self.error::<()>(name, "is set, and REDIS_URL has one, too: set one of the two");
        }
        redis.username = redis.username.or(username);
        redis.password = redis.password.or(password.map(|(_, password)| password.into()));
        if redis.username.is_some() && redis.password.is_none() {
            // The client would log nobody in, and say nothing of it.
            let alone = "is set, be it in REDIS_URL, and no password is; a user logs in with one: set REDIS_PASSWORD";
            self.error::<()>("REDIS_USERNAME", alone);
        }
        if redis.db == 0 {
            redis.db = i64::try_from(db?).ok()?;
        }
        self.cluster(&mut redis, cluster?);
        Some(redis)
    }

    fn redis_place(&mut self, host: Option<String>, port: Option<Port>) -> Option<RedisConfig> {
        let host = match host {
            Some(host) if host.contains("://") => self.error(
                "REDIS_HOST",
                "holds a URL; that belongs into REDIS_URL, and REDIS_HOST is a name or an address alone",
            ),
            Some(host) => match host_name(&host) {
                Ok(host) => Some(Some(host)),
                Err(problem) => self.error("REDIS_HOST", problem.replace("PORT", "REDIS_PORT")),
            },
            None => Some(None),
        };
        let (host, port) = match (host?, port?) {
            (host, Port::Number(port)) => (host.unwrap_or_else(|| "localhost".into()), port),
            (host, Port::Service(at, port)) => (host.unwrap_or(at), port),
            (host, Port::NotSet) => (host.unwrap_or_else(|| "localhost".into()), 6379),
        };
        Some(RedisConfig::at(&host, port))
    }

    /// Kubernetes sets `REDIS_PORT=tcp://10.0.0.1:6379` in every pod beside a service called redis.
    fn redis_port(&mut self) -> Option<Port> {
        let Some(text) = self.text("REDIS_PORT") else { return Some(Port::NotSet) };
        if let Some((host, port)) = text.strip_prefix("tcp://").and_then(|place| place.rsplit_once(':'))
            && let (Ok(host), Ok(port @ 1..)) = (host_name(host), port.parse())
        {
            return Some(Port::Service(host, port));
        }
        match text.parse() {
            Ok(port @ 1..) => Some(Port::Number(port)),
            _ => self.error(
                "REDIS_PORT",
                "must be a whole number from 1 to 65535, or tcp://HOST:PORT as Kubernetes sets it for a service called redis",
            ),
        }
    }

    /// No error shows anything of a URL: there may be a password in any part of one that is written wrongly.
    fn redis_url(&mut self, variable: &'static str, url: &str) -> Option<RedisConfig> {
        let form = "must be redis://[USER[:PASSWORD]@]HOST[:PORT][,HOST…][/DB], or the same with rediss:// for TLS";
        let Some((scheme, rest)) = url.split_once("://") else { return self.error(variable, form) };
        let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let hosts = place.rsplit_once('@').map_or(place, |(_, hosts)| hosts);
        let unsupported = match scheme {
            "redis" | "rediss" => None,
            "redis+unix" | "unix" => Some("names a Unix socket"),
            "redis+sentinel" | "redis-sentinel" | "sentinel" => {
                return self.error(variable, "names a Sentinel; such go into REDIS_SENTINELS, as HOST:PORT,…");
            }
            _ => return self.error(variable, form),
        };
        if let Some(what) = unsupported {
            let only = format!("{what}, which is not supported yet: this server wants one Redis, at redis://HOST:PORT");
            return self.error(variable, only);
        }
        // Who encrypts is nothing to the reader of URLs, and of several hosts it would read one.
        let (before, behind) = (&place[..place.len() - hosts.len()], &rest[place.len()..]);
        let one = |host: &str| format!("redis://{before}{host}{behind}").into_connection_info();
        let info = match one(hosts.split(',').next().unwrap_or_default()) {
            Ok(info) if !url.contains(['?', '#']) => info,
            _ => {
                let escaped =
                    format!("{form}, nothing more; what is no letter or digit in a password is %-encoded (RFC 3986)");
                return self.error(variable, escaped);
            }
        };
        let (login, ConnectionAddr::Tcp(host, port)) = (info.redis_settings(), info.addr()) else {
            return self.error(variable, form);
        };
        let db @ 0..=65_535 = login.db() else {
            return self.error(variable, "has no database number from 0 to 65535 at its end");
        };
        let cluster: Option<Vec<_>> = match hosts.contains(',') {
            false => Some(Vec::new()),
            true => hosts.split(',').map(|host| address(one(host).ok()?.addr())).collect(),
        };
        let Some(cluster) = cluster else { return self.error(variable, form) };
        let text = |it: Option<&str>| it.filter(|it| !it.is_empty()).map(str::to_owned);
        Some(RedisConfig {
            username: text(login.username()),
            password: text(login.password()).map(Secret::from),
            db,
            cluster,
            ..RedisConfig::at(host, *port)
        })
    }

    /// Which variable asks for TLS, if any.
    fn asks_for_tls(&mut self, url: Option<&'static str>) -> Option<Option<&'static str>> {
        match (self.text("REDIS_TLS").as_deref(), url) {
            (None, url) => Some(url),
            (Some("true"), url) => Some(url.or(Some("REDIS_TLS"))),
            (Some("false"), None) => Some(None),
            (Some("false"), Some(url)) => {
                self.error("REDIS_TLS", format!("is false, and {url} asks for TLS: rediss://"))
            }
            (Some(_), _) => self.error("REDIS_TLS", "must be true or false"),
        }
    }

    /// Whether `REDIS_CLUSTER` says that it is one, where it says anything.
    fn is_cluster(&mut self) -> Option<Option<bool>> {
        match self.text(CLUSTER).as_deref() {
            None => Some(None),
            Some("true") => Some(Some(true)),
            Some("false") => Some(Some(false)),
            Some(_) => self.error(CLUSTER, "must be true or false"),
        }
    }

    /// Several hosts are those of a cluster; one may be, where that is said.
    fn cluster(&mut self, redis: &mut RedisConfig, is_one: Option<bool>) {
        if is_one == Some(false) && !redis.cluster.is_empty() {
            self.error::<()>(CLUSTER, "is false, and REDIS_URL has several hosts, as only a cluster has");
        }
        if is_one != Some(true) && redis.cluster.is_empty() {
            return;
        }
        if redis.sentinels.is_some() {
            self.error::<()>(CLUSTER, format!("is true, and {SENTINELS} is set: a cluster has no sentinels"));
        }
        if redis.db != 0 {
            self.error::<()>("REDIS_DB", "is set, be it in REDIS_URL, and a cluster has one database: 0");
        }
        if redis.cluster.is_empty() {
            redis.cluster = vec![Address { host: redis.host.clone(), port: redis.port }];
        }
    }

    fn sentinels(&mut self) -> Option<Option<Sentinels>> {
        let (list, master) = (self.text(SENTINELS), self.text(MASTER));
        let (username, password) = (self.text(SENTINEL_USERNAME), self.secret(SENTINEL_PASSWORD)?);
        let Some(list) = list else {
            let password = password.map(|(variable, _)| variable);
            let idle = [master.map(|_| MASTER), username.map(|_| SENTINEL_USERNAME), password];
            let idle: Vec<_> = idle.into_iter().flatten().collect();
            for variable in idle.iter().copied() {
                self.error::<()>(variable, format!("is set, and {SENTINELS} is not"));
            }
            return idle.is_empty().then_some(None);
        };
        let address = |text: &str| {
            let (host, port) = text.trim().rsplit_once(':')?;
            Some(Address { host: host_name(host).ok()?, port: port.parse().ok().filter(|port| *port > 0)? })
        };
        let addresses: Option<Vec<_>> = list.split(',').map(address).collect();
        let addresses =
            addresses.or_else(|| self.error(SENTINELS, "must be HOST:PORT, or several with commas between"));
        let master = master.or_else(|| self.error(MASTER, "is not set: it is what the sentinels call the primary"));
        if username.is_some() && password.is_none() {
            return self.error(SENTINEL_USERNAME, "is set, and no password is: set REDIS_SENTINEL_PASSWORD");
        }
        let password = password.map(|(_, password)| password.into());
        Some(Some(Sentinels { addresses: addresses?, master: master?, username, password }))
    }

    /// TLS, where a variable asks for it.
    fn redis_tls(&mut self, asks: Option<&'static str>) -> Option<Option<Tls>> {
        let (authority, certificate, key) = (self.secret(AUTHORITY), self.secret(CERTIFICATE), self.secret(KEY));
        let (authority, certificate, key) = (authority?, certificate?, key?);
        let server_name = self.text(SERVER_NAME);
        let set = |it: &Option<(&'static str, String)>| it.as_ref().map(|(variable, _)| *variable);
        let Some(asks) = asks else {
            let all = [set(&authority), set(&certificate), set(&key), server_name.as_ref().map(|_| SERVER_NAME)];
            let idle: Vec<_> = all.into_iter().flatten().collect();
            for variable in idle.iter().copied() {
                self.error::<()>(
                    variable,
                    "is set, and nothing asks for TLS: REDIS_URL by rediss://, or REDIS_TLS=true",
                );
            }
            return idle.is_empty().then_some(None);
        };
        let identity = match (&certificate, &key) {
            (Some((_, certificate)), Some((_, key))) => Some((certificate.as_str(), key.as_str())),
            (None, None) => None,
            (Some(_), None) => return self.error(KEY.plain, "is not set, and REDIS_TLS_CERT is: they belong together"),
            (None, Some(_)) => {
                return self.error(CERTIFICATE.plain, "is not set, and REDIS_TLS_KEY is: they belong together");
            }
        };
        let made = Tls::new(authority.as_ref().map(|(_, pem)| pem.as_str()), identity, server_name.as_deref());
        match made {
            Ok(tls) => Some(Some(tls)),
            Err(error) => {
                let variable = match error {
                    TlsError::Authority | TlsError::NoAuthority => set(&authority).unwrap_or(AUTHORITY.plain),
                    TlsError::Certificate => set(&certificate).unwrap_or(CERTIFICATE.plain),
                    TlsError::Key => set(&key).unwrap_or(KEY.plain),
                    TlsError::ServerName => SERVER_NAME,
                    TlsError::LeftOut => asks,
                };
                self.error(variable, error.to_string())
            }
        }
    }
}

fn address(place: &ConnectionAddr) -> Option<Address> {
    let ConnectionAddr::Tcp(host, port) = place else { return None };
    Some(Address { host: host.clone(), port: *port })
}

/// What `REDIS_PORT` says.
enum Port {
    NotSet,
    Number(u16),
    /// Where a service of Kubernetes is.
    Service(String, u16),
}
