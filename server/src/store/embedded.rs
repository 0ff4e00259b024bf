//! The store in a file of its own, for a server that needs nothing else installed.
//!
//! One thread writes, see `writer`; everybody reads.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;
use writer::Writer;

use super::Limits;
use crate::{
    counts::COUNTS,
    model::{
        ANSWER_TTL, AT_A_TIME_BYTES, Answers, Backlog, Claim, EntryId, KEPT_AT_MOST, Outcome, Queue, Queued,
        Reinserted, Session, SessionStore, StoreError, now_ms,
    },
};

mod writer;

/// User and name → payload. An entry's name is the time of its arrival, in microseconds of the Unix epoch, and 0. What was put back
/// has the time of the newest entry that it came after, and the number with which it was handed over, which is a time, too: so
/// names grow in the order of acceptance, whatever comes back when, and no name is given twice.
const QUEUES: TableDefinition<(&str, u64, u64), &str> = TableDefinition::new("queues by name");
/// User → how many events were lost and not told yet, when the last one was in milliseconds of the Unix epoch.
const LEDGERS: TableDefinition<&str, (u64, i64)> = TableDefinition::new("ledgers");
/// Session → user, end in milliseconds of the Unix epoch or `i64::MAX`.
const SESSIONS: TableDefinition<&str, (&str, i64)> = TableDefinition::new("sessions");
/// Idempotency key → end in milliseconds of the Unix epoch, digest of the body, whether all was done, answer or what was done.
const ONCE: TableDefinition<&str, (i64, &str, bool, &str)> = TableDefinition::new("once");

/// Where earlier versions kept queues: what was put back had a time between two others, which is a name, too.
const FORMER_QUEUES: TableDefinition<(&str, u64), &str> = TableDefinition::new("queues");
const FORMER_RETURNED: TableDefinition<(&str, u64), u64> = TableDefinition::new("returned");
/// Where earlier versions kept answers, without the digest of the body.
const FORMER_ANSWERS: TableDefinition<&str, (i64, &str)> = TableDefinition::new("answers");

/// How long it holds what was found out for `/readyz`: that takes a commit.
const ANSWER_LASTS: Duration = Duration::from_secs(1);

/// How long sessions and answers may stay that nobody asks for any more.
const SWEEP_AT_LEAST_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long it is remembered that events were lost.
const REMEMBERED_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// Queues, sessions and answers in a file.
pub struct EmbeddedStore {
    database: Arc<Database>,
    limits: Limits,
    writer: Writer,
    /// The last time that was given to an entry.
    last: Arc<AtomicU64>,
    /// When it was found out whether it can be written to, and what was found. Whoever asks meanwhile waits for that.
    answered: tokio::sync::Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created where it does not exist.
    ///
    /// # Errors
    /// Where the directory cannot be written to, or another process has the store open.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        let database = Arc::new(open(directory)?);
        let writer = Writer::start(database.clone(), Box::new(move |transaction| sweep(transaction, limits)));
        Ok(Self { database, limits, writer, last: Arc::default(), answered: tokio::sync::Mutex::default() })
    }

    /// The limits of a queue whose user is here and acknowledges.
    fn kept(&self) -> Limits {
        Limits { max_events: self.limits.max_events.max(KEPT_AT_MOST), ..self.limits }
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        let looked = tokio::task::spawn_blocking(move || look(&database.begin_read()?));
        let looked = async { Ok(looked.await.map_err(|_| StoreError::Closed)??) };
        COUNTS.store_call(looked).await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.change(change).await
    }

    async fn append_within(
        &self,
        limits: Limits,
        user_id: &str,
        payloads: &[&str],
    ) -> Result<Vec<EntryId>, StoreError> {
        let user_id = user_id.to_owned();
        let payloads: Vec<String> = payloads.iter().map(|payload| (*payload).to_owned()).collect();
        let last = self.last.clone();
        self.change(move |transaction| append(transaction, &user_id, &payloads, limits, &last)).await
    }
}

fn open(directory: &Path) -> Result<Database, redb::Error> {
    std::fs::create_dir_all(directory)?;
    let database = Database::create(directory.join("notify.redb"))?;
    // A table has to be there before it can be read.
    let transaction = database.begin_write()?;
    take_over(&transaction)?;
    transaction.open_table(LEDGERS)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(ONCE)?;
    transaction.delete_table(FORMER_ANSWERS)?;
    transaction.commit()?;
    Ok(database)
}

/// The queues of an earlier version.
fn take_over(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut queues = transaction.open_table(QUEUES)?;
    for entry in transaction.open_table(FORMER_QUEUES)?.range::<(&str, u64)>(..)? {
        let (key, payload) = entry?;
        let (user_id, at) = key.value();
        queues.insert((user_id, at, 0), payload.value())?;
    }
    transaction.delete_table(FORMER_QUEUES)?;
    transaction.delete_table(FORMER_RETURNED)?;
    Ok(())
}

/// When an event of this name was accepted: its age counts from then.
fn accepted_at(name: EntryId) -> u64 {
    name.0.max(name.1)
}

/// Throws away what is too old for anybody to ask for it; when there may be more of it (QUEUE-31).
fn sweep(transaction: &WriteTransaction, limits: Limits) -> Result<Duration, redb::Error> {
    let (oldest, now) = (oldest_us(limits.ttl), now_ms());
    let mut lost: HashMap<String, u64> = HashMap::new();
    let mut next = now_us();
    transaction.open_table(QUEUES)?.retain(|(user_id, at, again), _| {
        let accepted = accepted_at(EntryId(at, again));
        let is_old = accepted < oldest;
        if is_old {
            *lost.entry(user_id.to_owned()).or_default() += 1;
        } else {
            next = next.min(accepted);
        }
        !is_old
    })?;
    for (user_id, events) in lost {
        count_lost(transaction, &user_id, events)?;
    }
    transaction.open_table(LEDGERS)?.retain(|_, (_, at)| at > now.saturating_sub(REMEMBERED_MS))?;
    transaction.open_table(SESSIONS)?.retain(|_, (_, end)| end > now)?;
    transaction.open_table(ONCE)?.retain(|_, (end, ..)| end > now)?;
    Ok(Duration::from_micros(next.saturating_sub(oldest)).clamp(limits.sweep_every(), SWEEP_AT_LEAST_EVERY))
}

fn now_us() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

fn oldest_us(ttl: Duration) -> u64 {
    now_us().saturating_sub(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX))
}

#[async_trait]
impl Queue for EmbeddedStore {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.append_within(self.limits, user_id, payloads).await
    }

    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        let user_id = user_id.to_owned();
        let limits = self.kept();
        // What the cap would cost at once need not be written; it is counted all the same. Here no answer is lost, so nothing twice.
        let surplus = events.len().saturating_sub(limits.max_events);
        let events: Vec<_> =
            events[surplus..].iter().map(|it| (it.payload.to_owned(), EntryId(it.after.0, it.number))).collect();
        self.change(move |transaction| {
            count_lost(transaction, &user_id, surplus as u64)?;
            reinsert(transaction, &user_id, &events, limits)
        })
        .await
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        let user_id = user_id.to_owned();
        let ttl = self.limits.ttl;
        self.look(move |transaction| {
            entries(&transaction.open_table(QUEUES)?, &user_id, EntryId::default(), oldest_us(ttl), AT_A_TIME_BYTES)
        })
        .await
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], _drain: Option<Uuid>) -> Result<(), StoreError> {
        let (user_id, ids) = (user_id.to_owned(), ids.to_owned());
        self.change(move |transaction| remove(transaction, &user_id, &ids)).await
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.append_within(self.kept(), user_id, payloads).await
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        let user_id = user_id.to_owned();
        let limits = Limits { max_events: if trim { self.limits.max_events } else { usize::MAX }, ..self.limits };
        let user = user_id.clone();
        // To connect with nothing to lose costs no write.
        let has_surplus = self
            .look(move |transaction| Ok(!surplus(&transaction.open_table(QUEUES)?, &user, limits)?.is_empty()))
            .await?;
        if has_surplus {
            let user = user_id.clone();
            self.change(move |transaction| {
                let gone = surplus(&transaction.open_table(QUEUES)?, &user, limits)?;
                remove(transaction, &user, &gone)?;
                count_lost(transaction, &user, gone.len() as u64)
            })
            .await?;
        }
        self.look(move |transaction| {
            let dropped = transaction.open_table(LEDGERS)?.get(user_id.as_str())?.map_or(0, |it| it.value().0);
            let (table, oldest) = (transaction.open_table(QUEUES)?, oldest_us(limits.ttl));
            let entries = entries(&table, &user_id, after, oldest, AT_A_TIME_BYTES)?;
            Ok(Backlog { entries, dropped })
        })
        .await
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        let (user_id, ids) = (user_id.to_owned(), ids.to_owned());
        self.change(move |transaction| {
            remove(transaction, &user_id, &ids)?;
            let mut ledgers = transaction.open_table(LEDGERS)?;
            let known = ledgers.get(user_id.as_str())?.map(|known| known.value());
            if let Some((dropped, at)) = known {
                match dropped.saturating_sub(told) {
                    0 => drop(ledgers.remove(user_id.as_str())?),
                    left => drop(ledgers.insert(user_id.as_str(), (left, at))?),
                }
            }
            Ok(())
        })
        .await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut answered = self.answered.lock().await;
        if let Some((at, outcome)) = &*answered
            && at.elapsed() < ANSWER_LASTS
        {
            return outcome.clone();
        }
        let outcome = self.change(|_| Ok(())).await;
        *answered = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

/// What a user has behind an entry, and not older than `oldest`, until it has so many bytes.
fn entries(
    table: &impl ReadableTable<(&'static str, u64, u64), &'static str>,
    user_id: &str,
    after: EntryId,
    oldest: u64,
    enough_bytes: usize,
) -> Result<Vec<Queued>, redb::Error> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let mut range = table.range((user_id, after.0, after.1 + 1)..=(user_id, u64::MAX, u64::MAX))?;
    while bytes < enough_bytes
        && let Some(entry) = range.next()
    {
        let (key, payload) = entry?;
        let (_, at, again) = key.value();
        let id = EntryId(at, again);
        if accepted_at(id) >= oldest {
            bytes += payload.value().len();
            entries.push(Queued { id, payload: payload.value().to_owned() });
        }
    }
    Ok(entries)
}

/// The names of all that a user has.
fn names(
    table: &impl ReadableTable<(&'static str, u64, u64), &'static str>,
    user_id: &str,
) -> Result<Vec<EntryId>, redb::Error> {
    let all = table.range((user_id, 0, 0)..=(user_id, u64::MAX, u64::MAX))?;
    all.map(|entry| entry.map(|(key, _)| EntryId(key.value().1, key.value().2)).map_err(redb::Error::from)).collect()
}

/// What of a user is too old; and of the rest the oldest above the cap.
fn surplus(
    table: &impl ReadableTable<(&'static str, u64, u64), &'static str>,
    user_id: &str,
    limits: Limits,
) -> Result<Vec<EntryId>, redb::Error> {
    let oldest = oldest_us(limits.ttl);
    let (mut gone, mut left): (Vec<_>, Vec<_>) =
        names(table, user_id)?.into_iter().partition(|name| accepted_at(*name) < oldest);
    gone.extend(left.drain(..left.len().saturating_sub(limits.max_events)));
    Ok(gone)
}

fn remove(transaction: &WriteTransaction, user_id: &str, ids: &[EntryId]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(QUEUES)?;
    for EntryId(at, again) in ids {
        table.remove((user_id, *at, *again))?;
    }
    Ok(())
}

/// Adds to what was lost; how much that is now.
fn count_lost(transaction: &WriteTransaction, user_id: &str, events: u64) -> Result<u64, redb::Error> {
    let mut ledgers = transaction.open_table(LEDGERS)?;
    let dropped = ledgers.get(user_id)?.map_or(0, |known| known.value().0) + events;
    if events > 0 {
        ledgers.insert(user_id, (dropped, now_ms()))?;
    }
    Ok(dropped)
}

/// Appends, and evicts what is too old or above the cap.
fn append(
    transaction: &WriteTransaction,
    user_id: &str,
    payloads: &[String],
    limits: Limits,
    last: &AtomicU64,
) -> Result<Vec<EntryId>, redb::Error> {
    let mut table = transaction.open_table(QUEUES)?;
    let mut ids = Vec::with_capacity(payloads.len());
    let newest = table.range((user_id, 0, 0)..=(user_id, u64::MAX, u64::MAX))?.next_back().transpose()?;
    let mut newest = newest.map_or(0, |(key, _)| key.value().1);
    for payload in payloads {
        newest = later(newest, last);
        table.insert((user_id, newest, 0), payload.as_str())?;
        ids.push(EntryId(newest, 0));
    }
    drop(table);
    evict(transaction, user_id, limits)?;
    Ok(ids)
}

/// Puts events back. What is there already was put back before, and the answer was lost.
fn reinsert(
    transaction: &WriteTransaction,
    user_id: &str,
    events: &[(String, EntryId)],
    limits: Limits,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(QUEUES)?;
    let held = entries(&table, user_id, EntryId::default(), 0, usize::MAX)?;
    for (payload, name) in events.iter().filter(|(payload, _)| held.iter().all(|it| it.payload != *payload)) {
        table.insert((user_id, name.0, name.1), payload.as_str())?;
    }
    drop(table);
    evict(transaction, user_id, limits)
}

/// Throws away what is too old or above the cap, and counts it.
fn evict(transaction: &WriteTransaction, user_id: &str, limits: Limits) -> Result<(), redb::Error> {
    let gone = surplus(&transaction.open_table(QUEUES)?, user_id, limits)?;
    remove(transaction, user_id, &gone)?;
    count_lost(transaction, user_id, gone.len() as u64).map(drop)
}

/// A time for an entry: later than any other even where the clock was set back, so that the order holds; and never given twice, or
/// a late acknowledgement could remove another event.
fn later(newest: u64, last: &AtomicU64) -> u64 {
    let at = now_us().max(newest + 1).max(last.load(Ordering::Relaxed) + 1);
    // Only the one thread that writes comes here.
    last.store(at, Ordering::Relaxed);
    at
}

#[async_trait]
impl SessionStore for EmbeddedStore {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        let (id, session) = (id.to_owned(), session.clone());
        self.change(move |transaction| {
            let end = session.expires_at_ms.unwrap_or(i64::MAX);
            transaction.open_table(SESSIONS)?.insert(id.as_str(), (session.user_id.as_str(), end))?;
            Ok(())
        })
        .await
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.change(move |transaction| {
            let mut table = transaction.open_table(SESSIONS)?;
            let removed = table.remove(id.as_str())?;
            Ok(removed.is_some_and(|session| session.value().1 > now_ms()))
        })
        .await
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        let id = id.to_owned();
        self.look(move |transaction| {
            let stored = transaction.open_table(SESSIONS)?.get(id.as_str())?;
            let session = stored.map(|stored| {
                let (user_id, end) = stored.value();
                let expires_at_ms = (end != i64::MAX).then_some(end);
                Session { user_id: user_id.to_owned(), expires_at_ms }
            });
            Ok(session.filter(Session::is_live))
        })
        .await
    }
}

/// A store that only one node uses has nobody else, so nothing has to be claimed in it.
#[async_trait]
impl Answers for EmbeddedStore {
    async fn claim(&self, key: &str, _: Uuid, body: &str) -> Result<Claim, StoreError> {
        let (key, body) = (key.to_owned(), body.to_owned());
        self.look(move |transaction| {
            let stored = transaction.open_table(ONCE)?.get(key.as_str())?;
            Ok(match stored.as_ref().map(|stored| stored.value()).filter(|(end, ..)| *end > now_ms()) {
                Some((_, known, ..)) if known != body => Claim::Another,
                Some((_, _, true, answer)) => Claim::Answered(answer.to_owned()),
                Some((_, _, false, part)) => Claim::Ours(Some(part.to_owned())),
                None => Claim::Ours(None),
            })
        })
        .await
    }

    async fn renew(&self, _: &str, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn settle(&self, key: &str, _: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        let (is_done, said) = match outcome {
            Outcome::Done(answer) => (true, answer.clone()),
            Outcome::Part(part) => (false, part.clone()),
            // What was done in part before stays.
            Outcome::Nothing => return Ok(()),
        };
        let (key, body) = (key.to_owned(), body.to_owned());
        self.change(move |transaction| {
            let end = now_ms() + i64::try_from(ANSWER_TTL.as_millis()).unwrap_or(i64::MAX / 2);
            let kept = (end, body.as_str(), is_done, said.as_str());
            transaction.open_table(ONCE)?.insert(key.as_str(), kept)?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_earlier_version_has_queued_is_taken_over_in_its_order() {
        let directory = std::env::temp_dir().join(Uuid::new_v4().to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let database = Database::create(directory.join("notify.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let now = now_us();
        for (at, payload) in [(now + 2, "three"), (now, "one"), (now + 1, "two")] {
            transaction.open_table(FORMER_QUEUES).unwrap().insert(("alice", at), payload).unwrap();
        }
        transaction.open_table(FORMER_RETURNED).unwrap().insert(("alice", now + 1), now).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let limits = Limits { max_events: 50, ttl: Duration::from_secs(60) };
        for _ in 0..2 {
            let store = EmbeddedStore::open(&directory, limits).unwrap();
            let queued: Vec<_> = store.read("alice").await.unwrap().into_iter().map(|entry| entry.payload).collect();
            assert_eq!(queued, ["one", "two", "three"]);
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn what_is_too_old_goes_though_nothing_else_is_done() {
        let directory = std::env::temp_dir().join(Uuid::new_v4().to_string());
        let ttl = Duration::from_secs(3);
        let store = EmbeddedStore::open(&directory, Limits { max_events: 50, ttl }).unwrap();
        let left = async || store.look(|transaction| names(&transaction.open_table(QUEUES)?, "alice")).await.unwrap();
        let first = store.append("alice", &["one"]).await.unwrap();
        tokio::time::sleep(ttl * 3 / 4).await;
        let second = store.append("alice", &["two"]).await.unwrap();
        assert_eq!(left().await, [first, second.clone()].concat());
        let began = Instant::now();
        while left().await.len() > 1 {
            assert!(began.elapsed() < ttl, "it stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(left().await, second);
        drop(store);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
