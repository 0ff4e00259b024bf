//! The store in a file of its own, for a server that needs nothing else installed.
//!
//! One thread writes, see `writer`; everybody reads.

use std::{path::Path, sync::Arc, time::Duration};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use writer::Writer;

use super::{BoxFuture, Limits, Probe, StoreError};
use crate::{
    idempotency::{ANSWER_TTL, Answers},
    queue::{EntryId, OfflineQueue, Queued},
    session::{Session, SessionStore, now_ms},
};

mod writer;

/// User, microseconds of the Unix epoch → payload. The time makes keys grow in the order of arrival.
const QUEUES: TableDefinition<(&str, u64), &str> = TableDefinition::new("queues");
/// Session → user, end in milliseconds of the Unix epoch or `i64::MAX`.
const SESSIONS: TableDefinition<&str, (&str, i64)> = TableDefinition::new("sessions");
/// Key → end in milliseconds of the Unix epoch, answer.
const ANSWERS: TableDefinition<&str, (i64, &str)> = TableDefinition::new("answers");

/// Queues, sessions and answers in a file.
pub struct EmbeddedStore {
    database: Arc<Database>,
    limits: Limits,
    writer: Writer,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created where it does not exist.
    ///
    /// # Errors
    /// Where the directory cannot be written to, or another process has the store open.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        let database = Arc::new(open(directory)?);
        let writer = Writer::start(database.clone(), Box::new(move |transaction| sweep(transaction, limits.ttl)));
        Ok(Self { database, limits, writer })
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        let looked = tokio::task::spawn_blocking(move || look(&database.begin_read()?));
        Ok(looked.await.map_err(|_| StoreError::Closed)??)
    }
}

fn open(directory: &Path) -> Result<Database, redb::Error> {
    std::fs::create_dir_all(directory)?;
    let database = Database::create(directory.join("notify.redb"))?;
    // A table has to be there before it can be read.
    let transaction = database.begin_write()?;
    transaction.open_table(QUEUES)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(ANSWERS)?;
    transaction.commit()?;
    Ok(database)
}

/// Throws away what is too old for anybody to ask for it.
fn sweep(transaction: &WriteTransaction, ttl: Duration) -> Result<bool, redb::Error> {
    let (oldest, now) = (oldest_us(ttl), now_ms());
    transaction.open_table(QUEUES)?.retain(|(_, at), _| at >= oldest)?;
    transaction.open_table(SESSIONS)?.retain(|_, (_, end)| end > now)?;
    transaction.open_table(ANSWERS)?.retain(|_, (end, _)| end > now)?;
    Ok(true)
}

fn now_us() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0) * 1_000
}

fn oldest_us(ttl: Duration) -> u64 {
    now_us().saturating_sub(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX))
}

impl OfflineQueue for EmbeddedStore {
    fn append<'a>(&'a self, user_id: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<(), StoreError>> {
        let user_id = user_id.to_owned();
        let payloads: Vec<String> = payloads.iter().map(|payload| (*payload).to_owned()).collect();
        let limits = self.limits;
        Box::pin(async move {
            self.writer.change(move |transaction| append(transaction, &user_id, &payloads, limits)).await?;
            Ok(())
        })
    }

    fn read<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>> {
        let user_id = user_id.to_owned();
        let ttl = self.limits.ttl;
        Box::pin(self.look(move |transaction| {
            let table = transaction.open_table(QUEUES)?;
            let mut queued = Vec::new();
            for entry in table.range((user_id.as_str(), oldest_us(ttl))..=(user_id.as_str(), u64::MAX))? {
                let (key, payload) = entry?;
                let id = EntryId(key.value().1, 0);
                queued.push(Queued { id, payload: payload.value().to_owned() });
            }
            Ok(queued)
        }))
    }

    fn remove<'a>(&'a self, user_id: &'a str, ids: &'a [EntryId]) -> BoxFuture<'a, Result<(), StoreError>> {
        let (user_id, ids) = (user_id.to_owned(), ids.to_owned());
        Box::pin(async move {
            self.writer
                .change(move |transaction| {
                    let mut table = transaction.open_table(QUEUES)?;
                    for EntryId(at, _) in &ids {
                        table.remove((user_id.as_str(), *at))?;
                    }
                    Ok(true)
                })
                .await?;
            Ok(())
        })
    }
}

fn append(
    transaction: &WriteTransaction,
    user_id: &str,
    payloads: &[String],
    limits: Limits,
) -> Result<bool, redb::Error> {
    let mut table = transaction.open_table(QUEUES)?;
    let all = (user_id, 0)..=(user_id, u64::MAX);
    let oldest = oldest_us(limits.ttl);
    let mut times = Vec::new();
    for entry in table.range(all)? {
        times.push(entry?.0.value().1);
    }
    for payload in payloads {
        // Later than the last one even where the clock was set back, so that the order holds.
        let at = times.last().map_or(0, |last| last + 1).max(now_us());
        table.insert((user_id, at), payload.as_str())?;
        times.push(at);
    }
    let surplus = times.len().saturating_sub(limits.max_events);
    for (place, at) in times.into_iter().enumerate() {
        if place < surplus || at < oldest {
            table.remove((user_id, at))?;
        }
    }
    Ok(true)
}

impl SessionStore for EmbeddedStore {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        let (id, session) = (id.to_owned(), session.clone());
        Box::pin(async move {
            self.writer
                .change(move |transaction| {
                    let end = session.expires_at_ms.unwrap_or(i64::MAX);
                    transaction.open_table(SESSIONS)?.insert(id.as_str(), (session.user_id.as_str(), end))?;
                    Ok(true)
                })
                .await?;
            Ok(())
        })
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        let id = id.to_owned();
        Box::pin(self.writer.change(move |transaction| {
            let mut table = transaction.open_table(SESSIONS)?;
            let removed = table.remove(id.as_str())?;
            Ok(removed.is_some_and(|session| session.value().1 > now_ms()))
        }))
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        let id = id.to_owned();
        Box::pin(self.look(move |transaction| {
            let stored = transaction.open_table(SESSIONS)?.get(id.as_str())?;
            let session = stored.map(|stored| {
                let (user_id, end) = stored.value();
                let expires_at_ms = (end != i64::MAX).then_some(end);
                Session { user_id: user_id.to_owned(), expires_at_ms }
            });
            Ok(session.filter(Session::is_live))
        }))
    }
}

impl Answers for EmbeddedStore {
    fn answer<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let key = key.to_owned();
        Box::pin(self.look(move |transaction| {
            let stored = transaction.open_table(ANSWERS)?.get(key.as_str())?;
            Ok(stored.and_then(|stored| {
                let (end, answer) = stored.value();
                (end > now_ms()).then(|| answer.to_owned())
            }))
        }))
    }

    fn keep_answer<'a>(&'a self, key: &'a str, answer: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let (key, answer) = (key.to_owned(), answer.to_owned());
        Box::pin(async move {
            self.writer
                .change(move |transaction| {
                    let end = now_ms() + i64::try_from(ANSWER_TTL.as_millis()).unwrap_or(i64::MAX / 2);
                    transaction.open_table(ANSWERS)?.insert(key.as_str(), (end, answer.as_str()))?;
                    Ok(true)
                })
                .await?;
            Ok(())
        })
    }
}

impl Probe for EmbeddedStore {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.writer.change(|_| Ok(true)).await?;
            Ok(())
        })
    }
}
