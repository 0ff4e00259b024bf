//! The store in a file of its own, for a server that needs nothing else installed.
//!
//! One thread writes. It commits whatever has gathered while the last commit was being written, so that many emitters share
//! one `fsync`; each is answered when its own change is on disk (QUEUE-17).

use std::{
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::{BoxFuture, Limits, Probe, StoreError};
use crate::{
    idempotency::{ANSWER_TTL, Answers},
    queue::{EntryId, OfflineQueue, Queued},
    session::{Session, SessionStore, now_ms},
};

/// User, microseconds of the Unix epoch, a counter that is always 0 → payload. The time makes ids grow with age.
const QUEUES: TableDefinition<(&str, u64), &str> = TableDefinition::new("queues");
/// Session → user, end in milliseconds of the Unix epoch or `i64::MAX`.
const SESSIONS: TableDefinition<&str, (&str, i64)> = TableDefinition::new("sessions");
/// Key → end in milliseconds of the Unix epoch, answer.
const ANSWERS: TableDefinition<&str, (i64, &str)> = TableDefinition::new("answers");

/// How many changes may wait for the thread that writes, and how many share a commit.
const BACKLOG: usize = 1_024;

/// How often what nobody will ask for again is thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Queues, sessions and answers in a file.
pub struct EmbeddedStore {
    database: Arc<Database>,
    limits: Limits,
    changes: Option<mpsc::Sender<Change>>,
    writer: Option<JoinHandle<()>>,
}

/// Something to write, and whom to tell.
struct Change {
    apply: Apply,
    done: oneshot::Sender<Result<bool, StoreError>>,
}

type Apply = Box<dyn Fn(&WriteTransaction) -> Result<bool, redb::Error> + Send>;

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created where it does not exist.
    ///
    /// # Errors
    /// Where the directory cannot be written to, or another process has the store open.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        let database = Arc::new(open(directory)?);
        let (changes, waiting) = mpsc::channel(BACKLOG);
        let writer = std::thread::spawn({
            let database = database.clone();
            move || write(&database, waiting, limits.ttl)
        });
        Ok(Self { database, limits, changes: Some(changes), writer: Some(writer) })
    }

    async fn change(
        &self,
        apply: impl Fn(&WriteTransaction) -> Result<bool, redb::Error> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let (done, outcome) = oneshot::channel();
        let change = Change { apply: Box::new(apply), done };
        let changes = self.changes.as_ref().ok_or(StoreError::Closed)?;
        changes.send(change).await.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)?
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

impl Drop for EmbeddedStore {
    /// Waits until what was promised is written and the file is closed.
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(writer) = self.writer.take() {
            writer.join().ok();
        }
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

/// The thread that writes, until nobody can send it anything any more.
fn write(database: &Database, mut waiting: mpsc::Receiver<Change>, ttl: Duration) {
    let mut swept: Option<Instant> = None;
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while group.len() < BACKLOG
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let sweeping = swept.is_none_or(|when| when.elapsed() >= SWEEP_EVERY);
        let committed = commit(database, &group, sweeping.then_some(ttl));
        if sweeping && committed.is_ok() {
            swept = Some(Instant::now());
        }
        answer(group, committed);
    }
}

fn commit(database: &Database, group: &[Change], sweep_older_than: Option<Duration>) -> Result<Vec<bool>, redb::Error> {
    let transaction = database.begin_write()?;
    let outcomes = group.iter().map(|change| (change.apply)(&transaction)).collect::<Result<_, _>>()?;
    if let Some(ttl) = sweep_older_than {
        sweep(&transaction, ttl)?;
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn answer(group: Vec<Change>, committed: Result<Vec<bool>, redb::Error>) {
    match committed {
        Ok(outcomes) => {
            for (change, outcome) in group.into_iter().zip(outcomes) {
                change.done.send(Ok(outcome)).ok();
            }
        }
        // All or nothing: one failure fails the commit that they share.
        Err(error) => {
            tracing::error!(%error, "the database could not be written");
            for change in group {
                change.done.send(Err(StoreError::Closed)).ok();
            }
        }
    }
}

/// Throws away what is too old for anybody to ask for it.
fn sweep(transaction: &WriteTransaction, ttl: Duration) -> Result<(), redb::Error> {
    let (oldest, now) = (oldest_us(ttl), now_ms());
    transaction.open_table(QUEUES)?.retain(|(_, at), _| at >= oldest)?;
    transaction.open_table(SESSIONS)?.retain(|_, (_, end)| end > now)?;
    transaction.open_table(ANSWERS)?.retain(|_, (end, _)| end > now)?;
    Ok(())
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
            self.change(move |transaction| append(transaction, &user_id, &payloads, limits)).await?;
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
            self.change(move |transaction| {
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
            self.change(move |transaction| {
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
        Box::pin(self.change(move |transaction| {
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
            self.change(move |transaction| {
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
            self.change(|_| Ok(true)).await?;
            Ok(())
        })
    }
}
