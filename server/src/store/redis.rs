//! The store on Redis: a stream per user, a string per session and per answer. Each step is one command or one script, so
//! that it is atomic for every node.

use std::{future::Future, time::Duration};

use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisResult, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{BoxFuture, Limits, Probe, StoreError};
use crate::{
    idempotency::{ANSWER_TTL, Answers},
    queue::{EntryId, OfflineQueue, Queued},
    session::{Session, SessionStore},
};

/// How long a command may take, the connecting included. A Redis that is down must not hold a request (EMIT-07, AUTH-23).
const TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);

/// How often the connection is tried while nobody needs it. The client library learns that a connection is gone, and later
/// that it could be had again, only by a command that fails: this keeps that failure from being somebody's event.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What is too old goes first, so that it does not count; then the cap; then the whole key expires with its last entry.
/// A key that is no stream was damaged from outside and is started anew (QUEUE-15).
const APPEND: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local now = redis.call('TIME')
local oldest = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[2])
redis.call('XTRIM', KEYS[1], 'MINID', oldest)
for i = 3, #ARGV do redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*', 'payload', ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

const READ: &str = r"
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return {} end
local now = redis.call('TIME')
local oldest = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1])
return redis.call('XRANGE', KEYS[1], oldest, '+')
";

const REMOVE: &str = r"
redis.call('XDEL', KEYS[1], unpack(ARGV))
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
";

/// How many ids `unpack` puts on the stack of Lua at a time, which holds 8,000.
const REMOVE_AT_ONCE: usize = 1_000;

/// Where Redis is (CONF-06).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `REDIS_HOST`.
    pub host: String,
    /// `REDIS_PORT`.
    pub port: u16,
    /// `REDIS_PASSWORD`.
    pub password: Option<crate::config::Secret>,
    /// `REDIS_DB`.
    pub db: i64,
}

/// Queues, sessions and answers in Redis.
pub struct RedisStore {
    connection: ConnectionManager,
    limits: Limits,
    append: Script,
    read: Script,
    remove: Script,
    heartbeat: JoinHandle<()>,
}

/// As a session is stored.
#[derive(Serialize, Deserialize)]
struct StoredSession {
    user_id: String,
    expires_at_ms: Option<i64>,
}

impl RedisStore {
    /// A store on this Redis, which may come and go: the server starts and goes on without it. Needs a runtime.
    ///
    /// # Errors
    /// Where the settings make no sense to the client.
    pub fn new(config: &RedisConfig, limits: Limits) -> Result<Self, StoreError> {
        let mut login = RedisConnectionInfo::default().set_db(config.db);
        if let Some(password) = &config.password {
            login = login.set_password(password.expose());
        }
        let address = ConnectionAddr::Tcp(config.host.clone(), config.port);
        let client = Client::open(address.into_connection_info()?.set_redis_settings(login))?;
        // No retries: each command that finds no connection tries once, so that it fails fast and recovers at once.
        let manager = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let connection = ConnectionManager::new_lazy_with_config(client, manager)?;
        Ok(Self {
            heartbeat: tokio::spawn(keep_trying(connection.clone())),
            connection,
            limits,
            append: Script::new(APPEND),
            read: Script::new(READ),
            remove: Script::new(REMOVE),
        })
    }

    fn ttl_ms(&self) -> u128 {
        self.limits.ttl.as_millis()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

async fn keep_trying(mut connection: ConnectionManager) {
    let mut reachable = true;
    loop {
        let answered = in_time(redis::cmd("PING").query_async::<()>(&mut connection)).await;
        match &answered {
            Ok(()) if !reachable => tracing::info!("redis answers again"),
            Err(error) if reachable => tracing::warn!(%error, "redis does not answer"),
            _ => {}
        }
        reachable = answered.is_ok();
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn in_time<T>(command: impl Future<Output = RedisResult<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(TIMEOUT, command).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(StoreError::TimedOut(TIMEOUT)),
    }
}

fn queue_key(user_id: &str) -> String {
    format!("notify:queue:{user_id}")
}

fn session_key(id: &str) -> String {
    format!("notify:session:{id}")
}

fn answer_key(key: &str) -> String {
    format!("notify:answer:{key}")
}

impl OfflineQueue for RedisStore {
    fn append<'a>(&'a self, user_id: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut call = self.append.key(queue_key(user_id));
            call.arg(self.limits.max_events).arg(self.ttl_ms().to_string());
            for payload in payloads {
                call.arg(*payload);
            }
            in_time(call.invoke_async::<()>(&mut self.connection.clone())).await
        })
    }

    fn read<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>> {
        Box::pin(async move {
            let mut call = self.read.key(queue_key(user_id));
            call.arg(self.ttl_ms().to_string());
            let mut connection = self.connection.clone();
            let entries: Vec<(String, Vec<Vec<u8>>)> = in_time(call.invoke_async(&mut connection)).await?;
            Ok(entries.into_iter().filter_map(queued).collect())
        })
    }

    fn remove<'a>(&'a self, user_id: &'a str, ids: &'a [EntryId]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for some in ids.chunks(REMOVE_AT_ONCE) {
                let mut call = self.remove.key(queue_key(user_id));
                for EntryId(time, counter) in some {
                    call.arg(format!("{time}-{counter}"));
                }
                in_time(call.invoke_async::<()>(&mut self.connection.clone())).await?;
            }
            Ok(())
        })
    }
}

/// An entry of a stream; its payload is empty where the field is missing or is no text, so that it counts as damaged.
fn queued((id, fields): (String, Vec<Vec<u8>>)) -> Option<Queued> {
    let (time, counter) = id.split_once('-')?;
    let id = EntryId(time.parse().ok()?, counter.parse().ok()?);
    let mut pairs = fields.chunks_exact(2);
    let payload = pairs.find(|pair| pair[0] == b"payload").map(|pair| pair[1].clone());
    Some(Queued { id, payload: String::from_utf8(payload.unwrap_or_default()).unwrap_or_default() })
}

impl SessionStore for RedisStore {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let stored = StoredSession { user_id: session.user_id.clone(), expires_at_ms: session.expires_at_ms };
            let stored = serde_json::to_string(&stored).expect("strings and numbers are JSON");
            let mut set = redis::cmd("SET");
            set.arg(session_key(id)).arg(stored);
            if let Some(end) = session.expires_at_ms {
                // Redis takes no time before its epoch; the first millisecond is past enough.
                set.arg("PXAT").arg(end.max(1));
            }
            in_time(set.query_async::<()>(&mut self.connection.clone())).await
        })
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut del = redis::cmd("DEL");
            del.arg(session_key(id));
            in_time(del.query_async::<bool>(&mut self.connection.clone())).await
        })
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        Box::pin(async move {
            let mut get = redis::cmd("GET");
            get.arg(session_key(id));
            let stored: Option<Vec<u8>> = in_time(get.query_async(&mut self.connection.clone())).await?;
            // One that cannot be read is as good as none: its user has to sign in again.
            let stored = stored.and_then(|json| serde_json::from_slice::<StoredSession>(&json).ok());
            Ok(stored.map(|StoredSession { user_id, expires_at_ms }| Session { user_id, expires_at_ms }))
        })
    }
}

impl Answers for RedisStore {
    fn answer<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            let mut get = redis::cmd("GET");
            get.arg(answer_key(key));
            in_time(get.query_async(&mut self.connection.clone())).await
        })
    }

    fn keep_answer<'a>(&'a self, key: &'a str, answer: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut set = redis::cmd("SET");
            set.arg(answer_key(key)).arg(answer).arg("EX").arg(ANSWER_TTL.as_secs());
            in_time(set.query_async::<()>(&mut self.connection.clone())).await
        })
    }
}

impl Probe for RedisStore {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { in_time(redis::cmd("PING").query_async::<()>(&mut self.connection.clone())).await })
    }
}
