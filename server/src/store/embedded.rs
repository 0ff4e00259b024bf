//! The store in a file of its own, for a server that needs nothing else installed.
//!
//! One thread writes, see `writer`; everybody reads.

use std::{
    collections::HashMap,
    future::ready,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use returned::{Held, places};
use uuid::Uuid;
use writer::Writer;

use super::Limits;
use crate::{
    counts::COUNTS,
    model::{
        ANSWER_TTL, AT_A_TIME_BYTES, AckQueue, Answers, Backlog, BoxFuture, Claim, EntryId, KEPT_AT_MOST, OfflineQueue,
        Outcome, Probe, Queued, Reinserted, Session, SessionStore, StoreError, now_ms,
    },
};

mod returned;
mod writer;

/// User, microseconds of the Unix epoch → payload. The time makes keys grow in the order of arrival.
const QUEUES: TableDefinition<(&str, u64), &str> = TableDefinition::new("queues");
/// User, place of an event that was put back → that of the newest entry that it came after.
const RETURNED: TableDefinition<(&str, u64), u64> = TableDefinition::new("returned");
/// User → how many events were lost and not told yet, when the last one was in milliseconds of the Unix epoch.
const LEDGERS: TableDefinition<&str, (u64, i64)> = TableDefinition::new("ledgers");
/// Session → user, end in milliseconds of the Unix epoch or `i64::MAX`.
const SESSIONS: TableDefinition<&str, (&str, i64)> = TableDefinition::new("sessions");
/// Idempotency key → end in milliseconds of the Unix epoch, digest of the body, whether all was done, answer or what was done.
const ONCE: TableDefinition<&str, (i64, &str, bool, &str)> = TableDefinition::new("once");

/// Where earlier versions kept answers, without the digest of the body.
const FORMER_ANSWERS: TableDefinition<&str, (i64, &str)> = TableDefinition::new("answers");

/// How long it holds what was found out for `/readyz`: that takes a commit.
const ANSWER_LASTS: Duration = Duration::from_secs(1);

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
        let writer = Writer::start(database.clone(), Box::new(move |transaction| sweep(transaction, limits.ttl)));
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

    /// A change that has something to say.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Fn(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = Arc::new(Mutex::new(None));
        let fill = outcome.clone();
        let apply = move |transaction: &WriteTransaction| {
            let said = change(transaction)?;
            *fill.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            Ok(true)
        };
        self.writer.change(apply).await?;
        let said = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        said.ok_or(StoreError::Closed)
    }
}

fn open(directory: &Path) -> Result<Database, redb::Error> {
    std::fs::create_dir_all(directory)?;
    let database = Database::create(directory.join("notify.redb"))?;
    // A table has to be there before it can be read.
    let transaction = database.begin_write()?;
    transaction.open_table(QUEUES)?;
    transaction.open_table(RETURNED)?;
    transaction.open_table(LEDGERS)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(ONCE)?;
    transaction.delete_table(FORMER_ANSWERS)?;
    transaction.commit()?;
    Ok(database)
}

/// Throws away what is too old for anybody to ask for it.
fn sweep(transaction: &WriteTransaction, ttl: Duration) -> Result<bool, redb::Error> {
    let (oldest, now) = (oldest_us(ttl), now_ms());
    let mut lost: HashMap<String, u64> = HashMap::new();
    transaction.open_table(QUEUES)?.retain(|(user_id, at), _| {
        if at < oldest {
            *lost.entry(user_id.to_owned()).or_default() += 1;
        }
        at >= oldest
    })?;
    for (user_id, events) in lost {
        count_lost(transaction, &user_id, events)?;
    }
    transaction.open_table(RETURNED)?.retain(|(_, at), _| at >= oldest)?;
    transaction.open_table(LEDGERS)?.retain(|_, (_, at)| at > now.saturating_sub(REMEMBERED_MS))?;
    transaction.open_table(SESSIONS)?.retain(|_, (_, end)| end > now)?;
    transaction.open_table(ONCE)?.retain(|_, (end, ..)| end > now)?;
    Ok(true)
}

fn now_us() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

fn oldest_us(ttl: Duration) -> u64 {
    now_us().saturating_sub(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX))
}

impl OfflineQueue for EmbeddedStore {
    fn append<'a>(
        &'a self,
        user_id: &'a str,
        payloads: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        let user_id = user_id.to_owned();
        let payloads: Vec<String> = payloads.iter().map(|payload| (*payload).to_owned()).collect();
        let (limits, last) = (self.limits, self.last.clone());
        Box::pin(self.change(move |transaction| append(transaction, &user_id, &payloads, limits, &last)))
    }

    fn reinsert<'a>(&'a self, user_id: &'a str, events: &'a [Reinserted<'a>]) -> BoxFuture<'a, Result<(), StoreError>> {
        let user_id = user_id.to_owned();
        let (limits, last) = (self.kept(), self.last.clone());
        // What the cap would cost at once need not be written; it is counted all the same. Here no answer is lost, so nothing twice.
        let surplus = events.len().saturating_sub(limits.max_events);
        let events: Vec<_> = events[surplus..].iter().map(|it| (it.payload.to_owned(), it.after.0)).collect();
        Box::pin(self.change(move |transaction| {
            count_lost(transaction, &user_id, surplus as u64)?;
            reinsert(transaction, &user_id, &events, limits, &last)
        }))
    }

    fn read<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>> {
        let user_id = user_id.to_owned();
        let ttl = self.limits.ttl;
        Box::pin(self.look(move |transaction| {
            entries(&transaction.open_table(QUEUES)?, &user_id, oldest_us(ttl), AT_A_TIME_BYTES)
        }))
    }

    fn remove<'a>(
        &'a self,
        user_id: &'a str,
        ids: &'a [EntryId],
        _drain: Option<Uuid>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (user_id, ids) = (user_id.to_owned(), ids.to_owned());
        Box::pin(self.change(move |transaction| {
            remove(transaction, &user_id, &ids)?;
            // It was a delivery to somebody who acknowledges nothing: what was lost before it is not told any more.
            transaction.open_table(LEDGERS)?.remove(user_id.as_str())?;
            Ok(())
        }))
    }
}

impl AckQueue for EmbeddedStore {
    fn keep<'a>(
        &'a self,
        user_id: &'a str,
        payloads: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        let user_id = user_id.to_owned();
        let payloads: Vec<String> = payloads.iter().map(|payload| (*payload).to_owned()).collect();
        let (limits, last) = (self.kept(), self.last.clone());
        Box::pin(self.change(move |transaction| append(transaction, &user_id, &payloads, limits, &last)))
    }

    fn backlog<'a>(
        &'a self,
        user_id: &'a str,
        after: EntryId,
        trim: bool,
    ) -> BoxFuture<'a, Result<Backlog, StoreError>> {
        let user_id = user_id.to_owned();
        let limits = Limits { max_events: if trim { self.limits.max_events } else { usize::MAX }, ..self.limits };
        Box::pin(async move {
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
                let from = (after.0 + 1).max(oldest_us(limits.ttl));
                let entries = entries(&transaction.open_table(QUEUES)?, &user_id, from, AT_A_TIME_BYTES)?;
                Ok(Backlog { entries, dropped })
            })
            .await
        })
    }

    fn confirm<'a>(&'a self, user_id: &'a str, ids: &'a [EntryId], told: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        let (user_id, ids) = (user_id.to_owned(), ids.to_owned());
        Box::pin(self.change(move |transaction| {
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
        }))
    }
}

fn entries_of(transaction: &WriteTransaction, user_id: &str) -> Result<Vec<Queued>, redb::Error> {
    entries(&transaction.open_table(QUEUES)?, user_id, 0, usize::MAX)
}

/// What a user has from a time on, until it has so many bytes.
fn entries(
    table: &impl ReadableTable<(&'static str, u64), &'static str>,
    user_id: &str,
    from: u64,
    enough_bytes: usize,
) -> Result<Vec<Queued>, redb::Error> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let mut range = table.range((user_id, from)..=(user_id, u64::MAX))?;
    while bytes < enough_bytes
        && let Some(entry) = range.next()
    {
        let (key, payload) = entry?;
        bytes += payload.value().len();
        entries.push(Queued { id: EntryId(key.value().1, 0), payload: payload.value().to_owned() });
    }
    Ok(entries)
}

/// What of a user is too old or above the cap.
fn surplus(
    table: &impl ReadableTable<(&'static str, u64), &'static str>,
    user_id: &str,
    limits: Limits,
) -> Result<Vec<EntryId>, redb::Error> {
    let oldest = oldest_us(limits.ttl);
    let ids = table.range((user_id, 0)..=(user_id, u64::MAX))?.map(|entry| Ok(EntryId(entry?.0.value().1, 0)));
    let mut ids = ids.collect::<Result<Vec<_>, redb::Error>>()?;
    let old = ids.iter().take_while(|id| id.0 < oldest).count();
    ids.truncate(old.max(ids.len().saturating_sub(limits.max_events)));
    Ok(ids)
}

fn remove(transaction: &WriteTransaction, user_id: &str, ids: &[EntryId]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(QUEUES)?;
    for EntryId(at, _) in ids {
        table.remove((user_id, *at))?;
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
    let oldest = oldest_us(limits.ttl);
    let mut times = Vec::new();
    for entry in table.range((user_id, 0)..=(user_id, u64::MAX))? {
        times.push(entry?.0.value().1);
    }
    let mut ids = Vec::with_capacity(payloads.len());
    for payload in payloads {
        // Later than the last one even where the clock was set back, so that the order holds; and never given twice, or a
        // late acknowledgement could remove another event.
        let at = times.last().map_or(0, |last| last + 1).max(now_us()).max(last.load(Ordering::Relaxed) + 1);
        // Only the one thread that writes comes here.
        last.store(at, Ordering::Relaxed);
        table.insert((user_id, at), payload.as_str())?;
        times.push(at);
        ids.push(EntryId(at, 0));
    }
    let surplus = times.len().saturating_sub(limits.max_events);
    let mut lost = 0;
    for (place, at) in times.into_iter().enumerate() {
        if place < surplus || at < oldest {
            table.remove((user_id, at))?;
            lost += 1;
        }
    }
    drop(table);
    count_lost(transaction, user_id, lost)?;
    Ok(ids)
}

/// Puts events back, each before whatever is newer than the entry that it came after. What is there already was put back before,
/// and the answer was lost.
fn reinsert(
    transaction: &WriteTransaction,
    user_id: &str,
    events: &[(String, u64)],
    limits: Limits,
    last: &AtomicU64,
) -> Result<(), redb::Error> {
    let held = entries_of(transaction, user_id)?;
    let mut returned = transaction.open_table(RETURNED)?;
    let mut known = Vec::with_capacity(held.len());
    for entry in &held {
        let after = returned.get((user_id, entry.id.0))?.map(|after| after.value());
        known.push(Held { at: entry.id.0, after: after.unwrap_or(entry.id.0) });
    }
    let new: Vec<_> = events.iter().filter(|(payload, _)| held.iter().all(|it| it.payload != *payload)).collect();
    let places = places(&known, &new.iter().map(|(_, after)| *after).collect::<Vec<_>>());
    let mut queues = transaction.open_table(QUEUES)?;
    let (mut behind, mut behind_after) = (Vec::new(), Vec::new());
    for ((payload, after), place) in new.into_iter().zip(places) {
        match place {
            Some(at) => {
                queues.insert((user_id, at), payload.as_str())?;
                returned.insert((user_id, at), after)?;
            }
            None => {
                behind.push(payload.clone());
                behind_after.push(after);
            }
        }
    }
    drop(queues);
    let ids = append(transaction, user_id, &behind, limits, last)?;
    for (EntryId(at, _), after) in ids.into_iter().zip(behind_after) {
        returned.insert((user_id, at), after)?;
    }
    Ok(())
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

/// A store that only one node uses has nobody else, so nothing has to be claimed in it.
impl Answers for EmbeddedStore {
    fn claim<'a>(&'a self, key: &'a str, _: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>> {
        let (key, body) = (key.to_owned(), body.to_owned());
        Box::pin(self.look(move |transaction| {
            let stored = transaction.open_table(ONCE)?.get(key.as_str())?;
            Ok(match stored.as_ref().map(|stored| stored.value()).filter(|(end, ..)| *end > now_ms()) {
                Some((_, known, ..)) if known != body => Claim::Another,
                Some((_, _, true, answer)) => Claim::Answered(answer.to_owned()),
                Some((_, _, false, part)) => Claim::Ours(Some(part.to_owned())),
                None => Claim::Ours(None),
            })
        }))
    }

    fn renew<'a>(&'a self, _: &'a str, _: Uuid) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    fn settle<'a>(
        &'a self,
        key: &'a str,
        _: Uuid,
        body: &'a str,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (is_done, said) = match outcome {
            Outcome::Done(answer) => (true, answer.clone()),
            Outcome::Part(part) => (false, part.clone()),
            // What was done in part before stays.
            Outcome::Nothing => return Box::pin(ready(Ok(()))),
        };
        let (key, body) = (key.to_owned(), body.to_owned());
        Box::pin(async move {
            self.writer
                .change(move |transaction| {
                    let end = now_ms() + i64::try_from(ANSWER_TTL.as_millis()).unwrap_or(i64::MAX / 2);
                    let kept = (end, body.as_str(), is_done, said.as_str());
                    transaction.open_table(ONCE)?.insert(key.as_str(), kept)?;
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
            let mut answered = self.answered.lock().await;
            if let Some((at, outcome)) = &*answered
                && at.elapsed() < ANSWER_LASTS
            {
                return outcome.clone();
            }
            let outcome = self.writer.change(|_| Ok(true)).await.map(drop);
            *answered = Some((Instant::now(), outcome.clone()));
            outcome
        })
    }
}
