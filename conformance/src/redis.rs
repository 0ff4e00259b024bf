//! The Redis that stands behind a run: in a container, as a local process, behind sentinels, or somebody's own.
//!
//! Lends each server under test an empty database. What is found in a database is looked at by [`inspect`].

mod container;
mod faults;
mod fleet;
pub mod inspect;
mod lending;
mod local;
mod resp;
mod shards;
pub mod tap;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisResult, aio::MultiplexedConnection,
};
use thiserror::Error;

pub use self::lending::Database;
use self::lending::Lending;

/// The image of the container, unless `NOTIFY_REDIS_IMAGE` names another.
pub const DEFAULT_IMAGE: &str = "redis:7.4-alpine";
/// The databases of a Redis that the suite starts itself.
const DATABASES: u32 = 64;
/// The databases of somebody's Redis that does not say how many it has: as many as Redis has unless told otherwise.
const USUAL_DATABASES: u32 = 16;
/// The oldest version that will do.
const OLDEST: u32 = 7;
/// How long a Redis that was started may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const POLL: Duration = Duration::from_millis(20);
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
    /// The same six times: a primary, two replicas, and three sentinels.
    Sentinel,
    /// The same six times: a Redis Cluster of three primaries, and a replica of each.
    Cluster,
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
            "sentinel" => Ok(Self::Sentinel),
            "cluster" => Ok(Self::Cluster),
            url if url.starts_with("redis://") => Ok(Self::Url(url.to_owned())),
            url if url.starts_with("rediss://") => Err("a Redis behind TLS (rediss://) is not supported".to_owned()),
            other => Err(format!("{other:?} is none of auto, container, local, sentinel, cluster and redis://…")),
        }
    }
}

impl fmt::Display for RedisChoice {
    /// As on the command line, but for the password in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Container => f.write_str("container"),
            Self::Local => f.write_str("local"),
            Self::Sentinel => f.write_str("sentinel"),
            Self::Cluster => f.write_str("cluster"),
            Self::Url(url) => match url.rsplit_once('@') {
                Some((_, host)) => write!(f, "redis://…@{host}"),
                None => f.write_str(url),
            },
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
    NoEmptyDatabase(RedisAddress),
    /// Every empty database is lent, and none came back in time.
    #[error(
        "the databases that the Redis at {address} has for the run ({count}) are all lent for longer than {limit:?}, \
         to servers of this run or of another. A run needs two at least, one for the server that cases share and one \
         for a server of a case's own: give it a Redis with more of them, or less to do at a time (--jobs)"
    )]
    AllLent {
        /// Where the Redis listens.
        address: RedisAddress,
        /// How many it has for the run.
        count: usize,
        /// How long was waited.
        limit: Duration,
    },
    /// What should have happened to a Redis did not.
    #[error("nothing can be done to the Redis: {0}")]
    Fault(String),
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
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A running Redis.
#[derive(Debug)]
pub struct RedisServer {
    address: RedisAddress,
    version: String,
    source: Source,
    lending: Arc<Lending>,
}

#[derive(Debug)]
enum Source {
    Container(Box<container::Container>),
    Local(Box<local::Local>),
    Fleet(Box<fleet::Fleet>),
    Shards(Box<shards::Shards>),
    /// With the first database that may be lent.
    Url(u32),
}

impl RedisServer {
    /// Finds or starts a Redis.
    ///
    /// # Errors
    /// Where no way that `choice` allows leads to a Redis of version 7 or later.
    pub async fn start(choice: &RedisChoice, image: &str) -> Result<Self, RedisError> {
        let mut ways = Vec::new();
        if matches!(choice, RedisChoice::Auto | RedisChoice::Container) {
            match Self::in_container(image, false).await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("container", why)),
            }
        }
        if matches!(choice, RedisChoice::Auto | RedisChoice::Local) {
            match Self::local(false).await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("local", why)),
            }
        }
        if *choice == RedisChoice::Sentinel {
            match Self::fleet().await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("sentinel", why)),
            }
        }
        if *choice == RedisChoice::Cluster {
            match Self::cluster().await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("cluster", why)),
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

    /// One more, of the same origin, of which nobody else knows: for what happens to a whole Redis. Beside somebody's own
    /// it is a container, or else a local process. One that `keeps` has what was written when it starts again.
    ///
    /// # Errors
    /// Where none can be started.
    pub async fn another(&self, keeps: bool) -> Result<Self, RedisError> {
        let mut ways = Vec::new();
        if !matches!(self.source, Source::Local(_) | Source::Fleet(_) | Source::Shards(_)) {
            let image = match &self.source {
                Source::Container(container) => &container.image,
                _ => DEFAULT_IMAGE,
            };
            match Self::in_container(image, keeps).await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("container", why)),
            }
        }
        if !matches!(self.source, Source::Container(_)) {
            match Self::local(keeps).await {
                Ok(server) => return Ok(server),
                Err(why) => ways.push(("local", why)),
            }
        }
        Err(RedisError::None(ways))
    }

    /// One behind sentinels, of which nobody else knows.
    ///
    /// # Errors
    /// Where none can be started.
    pub async fn behind_sentinels() -> Result<Self, RedisError> {
        Self::fleet().await.map_err(|why| RedisError::None(vec![("sentinel", why)]))
    }

    /// A Redis Cluster of which nobody else knows.
    ///
    /// # Errors
    /// Where none can be started.
    pub async fn of_shards() -> Result<Self, RedisError> {
        Self::cluster().await.map_err(|why| RedisError::None(vec![("cluster", why)]))
    }

    /// Where its servers are, where it is a Redis Cluster; else it is the only one.
    pub fn cluster_addresses(&self) -> Option<Vec<RedisAddress>> {
        match &self.source {
            Source::Shards(shards) => Some(shards.addresses()),
            _ => None,
        }
    }

    /// Where its sentinels are, with commas between, and what they call the primary; where it has any.
    pub fn sentinels(&self) -> Option<(String, &'static str)> {
        match &self.source {
            Source::Fleet(fleet) => Some((fleet.sentinels(), fleet::MASTER)),
            _ => None,
        }
    }

    async fn fleet() -> Result<Self, String> {
        let fleet = fleet::Fleet::start(&random_password(), DATABASES).await?;
        let address = fleet.first().1.clone();
        Self::ready(Source::Fleet(Box::new(fleet)), Lending::of_our_own(address, DATABASES)).await
    }

    async fn cluster() -> Result<Self, String> {
        let shards = shards::Shards::start(&random_password()).await?;
        let lending = Lending::of_shards(shards.addresses(), DATABASES);
        Self::ready(Source::Shards(Box::new(shards)), lending).await
    }

    /// A replica of this one, of which nobody else knows.
    ///
    /// # Errors
    /// Where none can be started, as beside a container, which it could not reach.
    pub async fn replica(&self) -> Result<Self, RedisError> {
        let (Source::Local(_), Some(password)) = (&self.source, &self.address.password) else {
            return Err(RedisError::Fault(
                "replicas are started beside a local process only (--redis local)".to_owned(),
            ));
        };
        let started = local::start(password, DATABASES, false, &[]).await;
        let (local, address) = started.map_err(|why| RedisError::None(vec![("local", why)]))?;
        let lending = Lending::of_our_own(address, DATABASES);
        let replica = Self::ready(Source::Local(Box::new(local)), lending).await;
        let replica = replica.map_err(|why| RedisError::None(vec![("local", why)]))?;
        replica.follow(self).await?;
        self.until_copied(1).await?;
        Ok(replica)
    }

    /// For people: version and origin.
    pub fn describe(&self) -> String {
        let version = &self.version;
        match &self.source {
            Source::Container(container) => format!("{version} in a container (testcontainers, {})", container.image),
            Source::Local(_) => format!("{version}, redis-server from PATH on :{}", self.address.port),
            Source::Fleet(fleet) => {
                format!("{version}, redis-server from PATH behind sentinels at {}", fleet.sentinels())
            }
            Source::Shards(_) => format!("{version}, redis-server from PATH, a cluster with :{}", self.address.port),
            Source::Url(first) => format!("{version} at redis://{}/{first}", self.address),
        }
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// `container`, `local`, `sentinel`, `cluster` or `url`.
    pub fn kind(&self) -> &'static str {
        match &self.source {
            Source::Container(_) => "container",
            Source::Local(_) => "local",
            Source::Fleet(_) => "sentinel",
            Source::Shards(_) => "cluster",
            Source::Url(_) => "url",
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &RedisAddress {
        &self.address
    }

    /// Its password, or none.
    pub fn password(&self) -> Option<&str> {
        self.address.password.as_deref()
    }

    /// Lends an empty database; waits while all are lent. One that is dropped comes back by itself, though a little later
    /// than by [`Self::take_back`].
    ///
    /// # Errors
    /// Where none is empty, none comes back within 45 s, or Redis does not answer.
    pub async fn lend(&self) -> Result<Database, RedisError> {
        self.lending.lend().await
    }

    /// Takes a lent database back and empties it for the next server.
    ///
    /// # Errors
    /// Where Redis does not answer; the database is then not lent again.
    pub async fn take_back(&self, database: Database) -> Result<(), RedisError> {
        Ok(database.give_back().await?)
    }

    /// Ends what was started, and empties what is still lent of somebody's own Redis, for which the servers that use it
    /// must have ended. A second call does nothing.
    pub async fn stop(&self) {
        match &self.source {
            Source::Container(container) => container.stop().await,
            Source::Local(local) => local.stop().await,
            Source::Fleet(fleet) => fleet.stop().await,
            Source::Shards(shards) => shards.stop().await,
            Source::Url(_) => self.lending.close_the_books().await,
        }
    }

    async fn in_container(image: &str, keeps: bool) -> Result<Self, String> {
        let password = random_password();
        let (container, address) = container::start(image, &password, DATABASES, keeps).await?;
        Self::ready(Source::Container(Box::new(container)), Lending::of_our_own(address, DATABASES)).await
    }

    async fn local(keeps: bool) -> Result<Self, String> {
        let password = random_password();
        let (local, address) = local::start(&password, DATABASES, keeps, &[]).await?;
        Self::ready(Source::Local(Box::new(local)), Lending::of_our_own(address, DATABASES)).await
    }

    async fn at(url: &str) -> Result<Self, String> {
        let (address, first) = read_url(url)?;
        let count = database_count(&address).await.unwrap_or(USUAL_DATABASES).max(first + 1);
        Self::ready(Source::Url(first), Lending::of_somebody(address, first..count)).await
    }

    async fn ready(source: Source, lending: Lending) -> Result<Self, String> {
        let address = lending.address().clone();
        let version = first_answer(&address, &source).await;
        let server = Self { address, version: version.clone().unwrap_or_default(), source, lending: Arc::new(lending) };
        let problem = match version {
            Ok(version) if major(&version) >= OLDEST => return Ok(server),
            Ok(version) => format!("Redis {version} at {} is too old; {OLDEST} or later is needed", server.address),
            Err(why) => why,
        };
        server.stop().await;
        Err(problem)
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

/// The address in a URL, and the first database that may be lent.
fn read_url(url: &str) -> Result<(RedisAddress, u32), String> {
    let info = url.into_connection_info().map_err(|error| error.to_string())?;
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err("only redis://HOST:PORT without TLS is supported".to_owned());
    };
    let settings = info.redis_settings();
    // The servers under test are given a password and no name (SPEC, configuration).
    if settings.username().is_some_and(|name| name != "default") {
        return Err("a user name in the URL is not supported: only redis://:PASSWORD@HOST:PORT/DB".to_owned());
    }
    let first = u32::try_from(settings.db()).map_err(|_| "the database number is negative".to_owned())?;
    let password = settings.password().map(str::to_owned);
    Ok((RedisAddress { host: host.clone(), port: *port, password }, first))
}

/// Asks until Redis answers: a container counts as started before its Redis listens. Somebody's own is asked once.
async fn first_answer(address: &RedisAddress, source: &Source) -> Result<String, String> {
    let deadline = tokio::time::Instant::now() + START_LIMIT;
    let mut poll = tokio::time::interval(POLL);
    loop {
        poll.tick().await;
        let error = match version(address).await {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        let error = format!("no answer at {address}: {error}");
        match source {
            Source::Url(_) => return Err(error),
            Source::Local(local) => local.still_runs().await?,
            Source::Fleet(fleet) => fleet.first().0.still_runs().await?,
            Source::Shards(shards) => shards.first().0.still_runs().await?,
            Source::Container(container) => container.still_runs().await?,
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(format!("{error} (for {START_LIMIT:?})"));
        }
    }
}

async fn version(address: &RedisAddress) -> RedisResult<String> {
    let mut connection = connect(address, 0).await?;
    // INFO is answered while it still reads what it has kept, and nothing that asks for data is.
    redis::cmd("PING").query_async::<()>(&mut connection).await?;
    let info: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    Ok(info.get("redis_version").unwrap_or_default())
}

/// `None` where Redis does not say: many that are hosted do not allow the question.
async fn database_count(address: &RedisAddress) -> Option<u32> {
    let mut connection = connect(address, 0).await.ok()?;
    let answer = redis::cmd("CONFIG").arg("GET").arg("databases").query_async(&mut connection).await;
    let (_, count): (String, u32) = answer.ok()?;
    Some(count)
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

fn random_password() -> String {
    format!("conformance-{:032x}", rand::random::<u128>())
}

/// A Redis for a test of this module's. `None` on a machine without `redis-server`, where the tests pass without those
/// that need one; in CI that is a failure.
#[cfg(test)]
async fn for_a_test() -> Option<RedisServer> {
    match RedisServer::start(&RedisChoice::Local, "").await {
        Ok(server) => Some(server),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("left out: {why}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_nonsense_is_named() {
        assert_eq!("local".parse(), Ok(RedisChoice::Local));
        assert_eq!("redis://h:1/2".parse(), Ok(RedisChoice::Url("redis://h:1/2".into())));
        assert!("redsi".parse::<RedisChoice>().is_err_and(|error| error.contains("redsi")));
        assert!("rediss://h".parse::<RedisChoice>().is_err_and(|error| error.contains("TLS")));
    }

    #[test]
    fn a_choice_is_shown_as_it_was_made_without_the_password() {
        for text in ["auto", "container", "local", "sentinel", "cluster", "redis://h:1/2"] {
            assert_eq!(text.parse::<RedisChoice>().expect("a choice").to_string(), text);
        }
        assert_eq!(RedisChoice::Url("redis://:p@ss@h:1".into()).to_string(), "redis://…@h:1");
    }

    #[test]
    fn a_url_gives_address_and_first_database() {
        let (address, first) = read_url("redis://:secret@h:1/3").expect("it is right");
        assert_eq!((address.to_string().as_str(), address.password.as_deref(), first), ("h:1", Some("secret"), 3));
        assert_eq!(read_url("redis://h").expect("it is right").0.port, 6379);
        assert!(
            read_url("redis://bob:secret@h").is_err_and(|why| why.contains("user name") && !why.contains("secret"))
        );
    }

    #[test]
    fn versions_are_compared_by_their_major_number() {
        assert_eq!(major("10.0.1"), 10);
        assert_eq!(major("6.2.7"), 6);
        assert_eq!(major("valkey"), 0);
    }

    #[tokio::test]
    async fn a_redis_that_is_not_there_names_the_three_ways_out() {
        let port = crate::ports::free_port().expect("a port");
        let choice = RedisChoice::Url(format!("redis://127.0.0.1:{port}"));
        let error = RedisServer::start(&choice, DEFAULT_IMAGE).await.expect_err("nobody listens");
        let message = error.to_string();
        assert!(message.contains("start Docker") && message.contains("redis-server") && message.contains("--redis"));
    }

    #[tokio::test]
    async fn a_redis_that_is_too_old_is_named_with_its_version() {
        let port = ancient().await;
        let choice = RedisChoice::Url(format!("redis://127.0.0.1:{port}"));
        let error = RedisServer::start(&choice, DEFAULT_IMAGE).await.expect_err("too old").to_string();
        assert!(error.contains("Redis 6.2.7") && error.contains("too old"), "{error}");
    }

    /// Answers every command as a Redis 6 answers INFO.
    async fn ancient() -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut asked).await {
                        // One command is an array, which begins with an asterisk at the start of a line.
                        let commands = asked[..length].iter().filter(|byte| **byte == b'*').count();
                        let answer = "$21\r\nredis_version:6.2.7\r\n\r\n".repeat(commands);
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        port
    }
}
