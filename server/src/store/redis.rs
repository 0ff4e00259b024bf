//! The store on Redis: a stream per user, a string per session, a hash per idempotency key. Each step is one command or one script, so
//! that it is atomic for every node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use about::Kind;
use async_trait::async_trait;
use clock::Clock;
use connect::{Connector, Locate};
use eviction::Eviction;
use futures_util::future;
use line::{Line, Pair, Written};
use lines::{Lines, Way};
use partitions::{Partition, Partitions};
use peers::Link;
use redis::ScriptInvocation;
use scripts::Scripts;
use sentinel::Watchers;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};
use topology::Topology;
use uuid::Uuid;

use super::Limits;
use crate::model::{
    Answers, Backlog, Claim, EntryId, Outcome, Queue, Queued, Reinserted, Secret, Session, SessionStore, StoreError,
};

mod about;
mod clock;
mod connect;
mod eviction;
mod line;
mod lines;
pub(crate) mod partitions;
pub(crate) mod peers;
mod scripts;
mod sentinel;
mod subscriptions;
mod tls;
mod topology;

pub use tls::{Tls, TlsError};

/// How long a command may take, the connecting included. A Redis that is down must not hold a request (EMIT-07, AUTH-23).
const TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);

/// How often the connection is tried while nobody needs it. The client library learns that a connection is gone, and later
/// that it could be had again, only by a command that fails: this keeps that failure from being somebody's event.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many queues are looked through at a time.
const SWEPT_AT_ONCE: usize = 10_000;

/// For how long what was found by the heartbeat holds: a heartbeat and its patience, and a little more.
const FOUND_LASTS: Duration = Duration::from_secs(3);

/// Where Redis is (CONF-06).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `REDIS_HOST`, or that of `REDIS_URL`, as the rest.
    pub host: String,
    /// `REDIS_PORT`.
    pub port: u16,
    /// `REDIS_USERNAME`; without one it is Redis's default user.
    pub username: Option<String>,
    /// `REDIS_PASSWORD`.
    pub password: Option<Secret>,
    /// `REDIS_DB`.
    pub db: i64,
    /// How it is encrypted, where it is: `rediss://`, and `REDIS_TLS_…`.
    pub tls: Option<Tls>,
    /// Who says where Redis is, in place of `host` and `port`: `REDIS_SENTINELS`.
    pub sentinels: Option<Sentinels>,
    /// Servers of a Redis Cluster, which tell where all are, in place of `host` and `port`: `REDIS_CLUSTER`, or `REDIS_URL` with several
    /// hosts. None where it is no cluster.
    pub cluster: Vec<Address>,
    /// `REDIS_MIN_REPLICAS`: how many replicas must have an event before its emission is confirmed, and a session before it counts.
    pub min_replicas: u64,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Those who watch over a primary and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// `REDIS_SENTINELS`: where they are, or some of them.
    pub addresses: Vec<Address>,
    /// `REDIS_SENTINEL_MASTER`: what they call the primary.
    pub master: String,
    /// `REDIS_SENTINEL_USERNAME`.
    pub username: Option<String>,
    /// `REDIS_SENTINEL_PASSWORD`.
    pub password: Option<Secret>,
}

impl RedisConfig {
    /// The default user and database of the Redis at this place.
    #[must_use]
    pub fn at(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            username: None,
            password: None,
            db: 0,
            tls: None,
            sentinels: None,
            cluster: Vec::new(),
            min_replicas: 0,
        }
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        let tls = if self.tls.is_some() { " over TLS" } else { "" };
        match &self.sentinels {
            Some(Sentinels { master, addresses, .. }) => {
                format!("{master:?} of {} sentinels{tls}, database {}", addresses.len(), self.db)
            }
            None if !self.cluster.is_empty() => {
                let places: Vec<_> = self.cluster.iter().map(|it| format!("{}:{}", it.host, it.port)).collect();
                format!("cluster of {}{tls}", places.join(", "))
            }
            None => format!("at {}:{}{tls}, database {}", self.host, self.port, self.db),
        }
    }
}

/// Queues, sessions and answers in Redis.
pub struct RedisStore {
    lines: Lines,
    partitions: Partitions,
    scripts: Arc<Scripts>,
    eviction: Eviction,
    /// When Redis has answered the heartbeat, where it has answered the last one.
    answered: watch::Receiver<Option<Instant>>,
    tasks: Vec<JoinHandle<()>>,
}

/// As a session is stored.
#[derive(Serialize, Deserialize)]
struct StoredSession {
    user_id: String,
    expires_at_ms: Option<i64>,
}

impl RedisStore {
    /// A store on this Redis, which may come and go: the server starts and goes on without it. Needs a runtime.
    #[must_use]
    pub fn new(config: &RedisConfig, limits: Limits) -> Self {
        let watchers = config.sentinels.as_ref().map(|them| Arc::new(Watchers::new(them, config.tls.as_ref())));
        let place: Arc<dyn Locate> = match &watchers {
            Some(watchers) => watchers.clone(),
            None => Arc::new(Address { host: config.host.clone(), port: config.port }),
        };
        let is_cluster = !config.cluster.is_empty();
        let kind = if is_cluster { Kind::Member } else { Kind::Primary };
        let connector = Connector::new(place, kind, config.username.as_deref(), config.password.as_ref());
        let connector = connector.with_db(config.db).with_tls(config.tls.clone());
        let mut tasks = Vec::new();
        let (lines, partitions) = if is_cluster {
            let topology = Arc::new(Topology::new(config.cluster.clone(), connector, config.min_replicas));
            tasks.push(tokio::spawn(topology::follow(topology.clone())));
            (Lines::Many(topology), Partitions::of_cluster())
        } else {
            let pair = Pair::new(connector, config.min_replicas);
            if let Some(watchers) = watchers {
                let both = [pair.line.clone(), pair.writer.line().clone()];
                tasks.push(tokio::spawn(sentinel::follow(watchers, both)));
            }
            (Lines::One(pair), Partitions::one(config.db))
        };
        let (clock, eviction) = (Clock::default(), Eviction::default());
        let scripts = Arc::new(Scripts::new(partitions.clone(), limits, clock.clone()));
        let (found, answered) = watch::channel(None);
        tasks.push(tokio::spawn(keep_trying(lines.clone(), scripts.clone(), clock.clone(), eviction.clone(), found)));
        tasks.push(tokio::spawn(keep_sweeping(lines.clone(), partitions.clone(), scripts.clone(), clock, limits)));
        Self { lines, partitions, scripts, eviction, answered, tasks }
    }

    /// Over which partitions users are spread.
    pub(crate) const fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// The ways to the other nodes that share this Redis: one for each partition.
    pub(crate) fn links(&self) -> Vec<Link> {
        let link = |partition: &Partition| {
            let way = self.lines.way(partition.slot());
            Link::new(way, partition.clone(), self.scripts.clone(), self.eviction.clone())
        };
        self.partitions.iter().map(link).collect()
    }

    /// The way to what belongs to a user, or is known by another name.
    fn way(&self, name: &str) -> Way {
        self.lines.way(self.partitions.of(name).slot())
    }

    /// Stores events; where too few replicas have them, undoes that.
    async fn store(
        &self,
        user_id: &str,
        payloads: &[&str],
        mut call: ScriptInvocation<'_>,
        mut undo: ScriptInvocation<'_>,
    ) -> Result<Vec<EntryId>, StoreError> {
        self.eviction.check()?;
        let way = self.way(user_id);
        match way.write::<Appended>(call.arg(payloads)).await? {
            Written::Copied((ids, ..)) => entry_ids(&ids),
            Written::Here((ids, ..)) => {
                way.ask::<()>(undo.arg(ids)).await?;
                Err(StoreError::NotCopied)
            }
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn keep_trying(
    lines: Lines,
    scripts: Arc<Scripts>,
    clock: Clock,
    eviction: Eviction,
    found: watch::Sender<Option<Instant>>,
) {
    let mut reachable = true;
    loop {
        let answered = look(&lines, &scripts, &clock, &eviction).await;
        match &answered {
            Ok(()) if !reachable => tracing::info!("redis answers again"),
            Err(error) if reachable => tracing::warn!(%error, "redis does not answer"),
            _ => {}
        }
        reachable = answered.is_ok();
        found.send_replace(reachable.then(Instant::now));
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// Has what is too old thrown away, of users for whom nothing else is done (QUEUE-31). Each node does, for nobody else may be there.
async fn keep_sweeping(lines: Lines, partitions: Partitions, scripts: Arc<Scripts>, clock: Clock, limits: Limits) {
    let ttl_ms = u64::try_from(limits.ttl.as_millis()).unwrap_or(u64::MAX);
    loop {
        tokio::time::sleep(limits.sweep_every()).await;
        let oldest = clock.in_ms(Duration::ZERO).saturating_sub(ttl_ms);
        for partition in partitions.iter() {
            let way = lines.way(partition.slot());
            if let Err(error) = sweep(&way, partition, &scripts, oldest).await {
                tracing::debug!(%error, "what is too old could not be thrown away yet");
            }
        }
    }
}

async fn sweep(way: &Way, partition: &Partition, scripts: &Scripts, oldest: u64) -> Result<(), StoreError> {
    let mut due = redis::cmd("ZRANGE");
    due.arg(partition.ages()).arg("-inf").arg(oldest).arg("BYSCORE").arg("LIMIT").arg(0).arg(SWEPT_AT_ONCE);
    let users: Vec<String> = way.ask(&due).await?;
    for user_id in users {
        way.ask::<()>(&scripts.sweep(&user_id)).await?;
    }
    Ok(())
}

/// What a server has said: the time, and its bound of memory with its policy.
type Looked = (u64, u64, Option<(u64, String)>);

/// Asks Redis what time it is, and whether it keeps what it is given. Of several servers the slowest clock counts, so that nothing is
/// done later than it is wanted, and whichever throws away what it has.
async fn look(lines: &Lines, scripts: &Scripts, clock: &Clock, eviction: &Eviction) -> Result<(), StoreError> {
    let answers = future::join_all(lines.all().await.into_iter().map(|line| look_at(line, scripts))).await;
    if answers.is_empty() {
        return Err(StoreError::TimedOut(TIMEOUT));
    }
    if answers.iter().any(Result::is_err) {
        lines.look_again();
    }
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    if let Some(slowest) = answers.iter().map(|(seconds, microseconds, _)| (*seconds, *microseconds)).min() {
        clock.note(slowest);
    }
    let evicts =
        |(_, _, memory): &Looked| memory.as_ref().is_some_and(|(bound, policy)| Eviction::is_one(*bound, policy));
    let worst = answers.iter().position(evicts).unwrap_or_default();
    eviction.note(answers.into_iter().nth(worst).and_then(|(_, _, memory)| memory));
    Ok(())
}

async fn look_at(line: Line, scripts: &Scripts) -> Result<Looked, StoreError> {
    let answer = line.ask(&scripts.look()).await;
    // An error is an answer; where there is none, the connection may be dead and nobody have said so.
    if matches!(answer, Err(StoreError::TimedOut(_))) {
        line.give_up();
    }
    answer
}

/// The ids, how many nodes have heard of them, and whether somebody acknowledges.
type Appended = (Vec<String>, usize, bool);

/// As Redis returns an entry of a stream.
type Entry = (String, Vec<Vec<u8>>);

#[async_trait]
impl Queue for RedisStore {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        let undo = self.scripts.remove_delivered(user_id, Duration::ZERO);
        self.store(user_id, payloads, self.scripts.append(user_id), undo).await
    }

    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        self.eviction.check()?;
        let mut call = self.scripts.reinsert(user_id);
        for event in events {
            call.arg(name(event.after)).arg(event.number).arg(event.payload);
        }
        self.way(user_id).ask(&call).await
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        let entries: Vec<Entry> = self.way(user_id).ask(&self.scripts.read(user_id)).await?;
        Ok(entries.into_iter().filter_map(queued).collect())
    }

    async fn drain(&self, user_id: &str, drain: Uuid) -> Result<Option<Vec<Queued>>, StoreError> {
        let entries: Option<Vec<Entry>> = self.way(user_id).ask(&self.scripts.drain(user_id, drain)).await?;
        Ok(entries.map(|entries| entries.into_iter().filter_map(queued).collect()))
    }

    async fn renew_drain(&self, user_id: &str, drain: Uuid) {
        if let Err(error) = self.way(user_id).ask::<()>(&self.scripts.renew_drain(user_id, drain)).await {
            tracing::debug!(%error, "another node may take a queue for free that is on its way");
        }
    }

    async fn release(&self, user_id: &str, drain: Uuid) {
        if let Err(error) = self.way(user_id).ask::<()>(&self.scripts.release(user_id, drain)).await {
            tracing::debug!(%error, "others have to wait until they may drain a queue");
        }
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        self.way(user_id).ask(self.scripts.remove(user_id, drain.unwrap_or_default()).arg(names(ids))).await
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.store(user_id, payloads, self.scripts.keep(user_id), self.scripts.confirm(user_id, 0)).await
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        let call = self.scripts.backlog(user_id, &name(after), trim);
        let (dropped, entries): (u64, Vec<Entry>) = self.way(user_id).ask(&call).await?;
        Ok(Backlog { entries: entries.into_iter().filter_map(queued).collect(), dropped })
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.way(user_id).ask(self.scripts.confirm(user_id, told).arg(names(ids))).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Whoever asks costs Redis nothing.
        let answered = *self.answered.borrow();
        match answered {
            Some(at) if at.elapsed() < FOUND_LASTS => self.eviction.check(),
            _ => Err(StoreError::TimedOut(TIMEOUT)),
        }
    }
}

fn entry_ids(names: &[String]) -> Result<Vec<EntryId>, StoreError> {
    names.iter().map(|name| entry_id(name)).collect::<Option<_>>().ok_or(StoreError::Senseless)
}

fn names(ids: &[EntryId]) -> Vec<String> {
    ids.iter().copied().map(name).collect()
}

fn name(EntryId(time, counter): EntryId) -> String {
    format!("{time}-{counter}")
}

pub(crate) fn entry_id(name: &str) -> Option<EntryId> {
    let (time, counter) = name.split_once('-')?;
    Some(EntryId(time.parse().ok()?, counter.parse().ok()?))
}

/// An entry of a stream; its payload is empty where the field is missing or is no text, so that it counts as damaged.
fn queued((id, fields): Entry) -> Option<Queued> {
    let id = entry_id(&id)?;
    let mut pairs = fields.chunks_exact(2);
    let payload = pairs.find(|pair| pair[0] == b"payload").map(|pair| pair[1].clone());
    Some(Queued { id, payload: String::from_utf8(payload.unwrap_or_default()).unwrap_or_default() })
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        let stored = StoredSession { user_id: session.user_id.clone(), expires_at_ms: session.expires_at_ms };
        let stored = serde_json::to_string(&stored).expect("strings and numbers are JSON");
        let mut set = redis::cmd("SET");
        set.arg(self.partitions.of(id).session(id)).arg(stored);
        if let Some(end) = session.expires_at_ms {
            // Redis takes no time before its epoch; the first millisecond is past enough.
            set.arg("PXAT").arg(end.max(1));
        }
        self.way(id).write::<()>(&set).await?.copied()
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        let mut del = redis::cmd("DEL");
        del.arg(self.partitions.of(id).session(id));
        self.way(id).write::<bool>(&del).await?.copied()
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        let mut get = redis::cmd("GET");
        get.arg(self.partitions.of(id).session(id));
        let stored: Option<Vec<u8>> = self.way(id).ask(&get).await?;
        // One that cannot be read is as good as none: its user has to sign in again.
        let stored = stored.and_then(|json| serde_json::from_slice::<StoredSession>(&json).ok());
        Ok(stored.map(|StoredSession { user_id, expires_at_ms }| Session { user_id, expires_at_ms }))
    }
}

#[async_trait]
impl Answers for RedisStore {
    async fn claim(&self, key: &str, by: Uuid, body: &str) -> Result<Claim, StoreError> {
        // What may be thrown away keeps nobody from emitting twice.
        self.eviction.check()?;
        let (found, said): (String, Option<String>) = self.way(key).ask(&self.scripts.claim_key(key, by, body)).await?;
        match (found.as_str(), said) {
            ("ours", part) => Ok(Claim::Ours(part)),
            ("at work", _) => Ok(Claim::AtWork),
            ("answered", Some(answer)) => Ok(Claim::Answered(answer)),
            ("another", _) => Ok(Claim::Another),
            _ => Err(StoreError::Senseless),
        }
    }

    async fn renew(&self, key: &str, by: Uuid) -> Result<(), StoreError> {
        self.way(key).ask(&self.scripts.renew_key(key, by)).await
    }

    async fn settle(&self, key: &str, by: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        let (what, said) = match outcome {
            Outcome::Done(answer) => ("answer", answer.as_str()),
            Outcome::Part(part) => ("part", part.as_str()),
            Outcome::Nothing => ("nothing", ""),
        };
        self.way(key).ask(&self.scripts.settle_key(key, by, body, what, said)).await
    }
}
