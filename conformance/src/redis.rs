//! The Redis that stands behind a run: in a container, as a local process, or somebody's own.
//!
//! Lends each server under test an empty database. What is found in a database is looked at by [`inspect`].

mod container;
pub mod inspect;
mod local;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisResult, aio::MultiplexedConnection,
};
use thiserror::Error;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// The image of the container, unless `NOTIFY_REDIS_IMAGE` names another.
pub const DEFAULT_IMAGE: &str = "redis:7.4-alpine";
/// The databases of a Redis that the suite starts itself.
const DATABASES: u32 = 64;
/// How long a Redis that was started may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long one command may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Where the run's Redis comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisChoice {
    /// A container, or else a local process.
    Auto,
    /// A container.
    Container,
    /// `redis-server` from `PATH`.
    Local,
    /// A Redis that runs already.
    Url(String),
}

impl FromStr for RedisChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "container" => Ok(Self::Container),
            "local" => Ok(Self::Local),
            url if url.starts_with("redis://") => Ok(Self::Url(url.to_owned())),
            other => Err(format!("{other:?} is none of auto, container, local and redis://…")),
        }
    }
}

/// Why there is no Redis for the run.
#[derive(Debug, Error)]
pub enum RedisError {
    /// No way led to a Redis.
    #[error(
        "no Redis for the run.{}\nThree ways out: start Docker; install redis-server 7 or later; \
         name a Redis that runs by --redis redis://HOST:PORT",
        tried(.0)
    )]
    None(Vec<(&'static str, String)>),
    /// Every database that the run may use holds something.
    #[error("the Redis at {0} has no empty database left; the suite never touches one that holds data")]
    NoEmptyDatabase(String),
    /// A command failed.
    #[error("the run's Redis does not answer")]
    Command(#[from] redis::RedisError),
}

fn tried(ways: &[(&str, String)]) -> String {
    ways.iter().map(|(way, why)| format!("\n  {way}: {why}")).collect()
}

/// Where a Redis listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The password, or none.
    pub password: Option<String>,
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A running Redis.
#[derive(Debug)]
pub struct RedisServer {
    address: RedisAddress,
    version: String,
    source: Source,
    free: Mutex<BTreeSet<u32>>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
enum Source {
    Container(container::Container),
    Local(local::Local),
    Url,
}

/// A database that is lent to one server under test.
#[derive(Debug)]
pub struct Database {
    /// Where the Redis listens.
    pub address: RedisAddress,
    /// The number of the database.
    pub index: u32,
    _place: OwnedSemaphorePermit,
}

impl RedisServer {
    /// Finds or starts a Redis.
    ///
    /// # Errors
    /// Where no way that `choice` allows leads to a Redis of version 7 or later.
    pub async fn start(choice: &RedisChoice, image: &str) -> Result<Self, RedisError> {
        let mut ways = Vec::new();
        if matches!(choice, RedisChoice::Auto | RedisChoice::Container) {
            match Self::in_container(image).await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("container", why)),
            }
        }
        if matches!(choice, RedisChoice::Auto | RedisChoice::Local) {
            match Self::local().await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("local", why)),
            }
        }
        if let RedisChoice::Url(url) = choice {
            match Self::at(url).await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("url", why)),
            }
        }
        Err(RedisError::None(ways))
    }

    /// For people: version and origin.
    pub fn describe(&self) -> String {
        let version = &self.version;
        match &self.source {
            Source::Container(container) => format!("{version} in a container (testcontainers, {})", container.image),
            Source::Local(_) => format!("{version}, redis-server from PATH on :{}", self.address.port),
            Source::Url => format!("{version} at {}", self.address),
        }
    }

    /// `container`, `local` or `url`.
    pub fn kind(&self) -> &'static str {
        match &self.source {
            Source::Container(_) => "container",
            Source::Local(_) => "local",
            Source::Url => "url",
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &RedisAddress {
        &self.address
    }

    /// Lends an empty database; waits while all are lent.
    ///
    /// # Errors
    /// Where none is empty, or Redis does not answer.
    pub async fn lend(&self) -> Result<Database, RedisError> {
        let no_database = || RedisError::NoEmptyDatabase(self.address.to_string());
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| no_database())?;
            let Some(index) = self.free.lock().await.pop_first() else { return Err(no_database()) };
            let database = Database { address: self.address.clone(), index, _place: place };
            let size: u64 = redis::cmd("DBSIZE").query_async(&mut database.connect().await?).await?;
            if size == 0 {
                return Ok(database);
            }
            // Somebody's data: this database is never offered again.
            database._place.forget();
        }
    }

    /// Takes a lent database back and empties it for the next server.
    ///
    /// # Errors
    /// Where Redis does not answer; the database is then not lent again.
    pub async fn take_back(&self, database: Database) -> Result<(), RedisError> {
        redis::cmd("FLUSHDB").query_async::<()>(&mut database.connect().await?).await?;
        self.free.lock().await.insert(database.index);
        Ok(())
    }

    /// Ends what was started.
    pub async fn stop(&self) {
        match &self.source {
            Source::Container(container) => container.stop().await,
            Source::Local(local) => local.stop().await,
            Source::Url => {}
        }
    }

    async fn in_container(image: &str) -> Result<Self, String> {
        let password = random_password();
        let (container, address) = container::start(image, &password, DATABASES).await?;
        Self::ready(address, Source::Container(container), 0..DATABASES).await
    }

    async fn local() -> Result<Self, String> {
        let password = random_password();
        let (local, address) = local::start(&password, DATABASES).await?;
        Self::ready(address, Source::Local(local), 0..DATABASES).await
    }

    async fn at(url: &str) -> Result<Self, String> {
        let info = url.into_connection_info().map_err(|error| error.to_string())?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err("only redis://HOST:PORT without TLS is supported".to_owned());
        };
        let settings = info.redis_settings();
        let first = u32::try_from(settings.db()).map_err(|_| "the database number is negative".to_owned())?;
        let password = settings.password().map(str::to_owned);
        let address = RedisAddress { host: host.clone(), port: *port, password };
        let count = database_count(&address).await.unwrap_or(first + 1);
        Self::ready(address, Source::Url, first..count).await
    }

    async fn ready(address: RedisAddress, source: Source, databases: std::ops::Range<u32>) -> Result<Self, String> {
        let version = tokio::time::timeout(START_LIMIT, first_answer(&address, &source)).await;
        let version = version.unwrap_or_else(|_| Err(format!("no answer at {address} within {START_LIMIT:?}")));
        let places = Arc::new(Semaphore::new(databases.len()));
        let server = Self {
            address,
            version: version.clone().unwrap_or_default(),
            source,
            free: Mutex::new(databases.collect()),
            places,
        };
        let problem = match version {
            Ok(version) if major(&version) >= 7 => return Ok(server),
            Ok(version) => format!("Redis {version} at {} is too old; 7 or later is needed", server.address),
            Err(why) => why,
        };
        server.stop().await;
        Err(problem)
    }
}

impl Database {
    /// A connection to this very database.
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        connect(&self.address, self.index).await
    }
}

async fn connect(address: &RedisAddress, index: u32) -> RedisResult<MultiplexedConnection> {
    let settings = redis::RedisConnectionInfo::default().set_db(i64::from(index));
    let settings = match &address.password {
        Some(password) => settings.set_password(password),
        None => settings,
    };
    let tcp = ConnectionAddr::Tcp(address.host.clone(), address.port);
    let client = Client::open(tcp.into_connection_info()?.set_redis_settings(settings))?;
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_LIMIT))
        .set_response_timeout(Some(ANSWER_LIMIT));
    client.get_multiplexed_async_connection_with_config(&limits).await
}

/// Asks until Redis answers: a container counts as started before its Redis listens.
async fn first_answer(address: &RedisAddress, source: &Source) -> Result<String, String> {
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    loop {
        poll.tick().await;
        let error = match version(address).await {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        if matches!(source, Source::Url) || error.kind() == redis::ErrorKind::AuthenticationFailed {
            return Err(error.to_string());
        }
        if let Source::Local(local) = source {
            local.still_runs().await?;
        }
    }
}

async fn version(address: &RedisAddress) -> RedisResult<String> {
    let info: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(&mut connect(address, 0).await?).await?;
    Ok(info.get("redis_version").unwrap_or_default())
}

async fn database_count(address: &RedisAddress) -> RedisResult<u32> {
    let mut connection = connect(address, 0).await?;
    let (_, count): (String, u32) =
        redis::cmd("CONFIG").arg("GET").arg("databases").query_async(&mut connection).await?;
    Ok(count)
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

fn random_password() -> String {
    format!("conformance-{:032x}", rand::random::<u128>())
}

/// A port of loopback that is free now.
///
/// # Errors
/// Where none can be bound.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_nonsense_is_named() {
        assert_eq!("local".parse(), Ok(RedisChoice::Local));
        assert_eq!("redis://h:1/2".parse(), Ok(RedisChoice::Url("redis://h:1/2".into())));
        assert!("redsi".parse::<RedisChoice>().is_err_and(|error| error.contains("redsi")));
    }

    #[test]
    fn versions_are_compared_by_their_major_number() {
        assert_eq!(major("10.0.1"), 10);
        assert_eq!(major("6.2.7"), 6);
        assert_eq!(major("valkey"), 0);
    }

    #[tokio::test]
    async fn a_redis_that_is_not_there_names_the_three_ways_out() {
        let port = free_port().expect("a port");
        let choice = RedisChoice::Url(format!("redis://127.0.0.1:{port}"));
        let error = RedisServer::start(&choice, DEFAULT_IMAGE).await.expect_err("nobody listens");
        let message = error.to_string();
        assert!(message.contains("start Docker") && message.contains("redis-server") && message.contains("--redis"));
    }
}
