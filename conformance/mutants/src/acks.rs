//! The keeping of what is not acknowledged yet, with one thing wrong.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use notify_server::model::{Backlog, EntryId, Queue, Queued, Reinserted, StoreError};
use serde_json::Value;
use uuid::Uuid;

/// What is wrong with the keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was acknowledged stays.
    ConfirmIgnored,
    /// One acknowledgement counts for everything.
    ConfirmsAll,
    /// What is handed over counts as acknowledged.
    HandedIsConfirmed,
    /// Only the first of those that are acknowledged together is removed.
    ConfirmsFirstOnly,
    /// Nothing is said of what was lost.
    LossUntold,
    /// What was lost is told once, heard or not.
    LossToldOnce,
    /// Newest first.
    NewestFirst,
    /// What comes again has another id.
    AnotherId,
    /// Accepted though the store has failed.
    FailureHidden,
    /// Kept in memory, where a kill ends it.
    InMemory,
}

/// A store with a fault.
pub(crate) struct Faulty {
    queue: Arc<dyn Queue>,
    fault: Fault,
    told: Mutex<HashMap<String, u64>>,
    /// What a kill is to forget: entries that only this process knows to be kept.
    forgettable: Mutex<HashMap<String, HashSet<EntryId>>>,
}

impl Faulty {
    pub(crate) fn new(queue: Arc<dyn Queue>, fault: Fault) -> Self {
        Self { queue, fault, told: Mutex::default(), forgettable: Mutex::default() }
    }

    fn forgettable(&self, user_id: &str) -> HashSet<EntryId> {
        let all = self.forgettable.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(user_id).cloned().unwrap_or_default()
    }

    /// What was lost since it was last told.
    fn untold(&self, user_id: &str, dropped: u64) -> u64 {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.insert(user_id.to_owned(), dropped).unwrap_or_default();
        dropped.saturating_sub(before)
    }
}

#[async_trait]
impl Queue for Faulty {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.queue.append(user_id, payloads).await
    }

    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        self.queue.reinsert(user_id, events).await
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        self.queue.read(user_id).await
    }

    async fn drain(&self, user_id: &str, drain: Uuid) -> Result<Option<Vec<Queued>>, StoreError> {
        self.queue.drain(user_id, drain).await
    }

    async fn renew_drain(&self, user_id: &str, drain: Uuid) {
        self.queue.renew_drain(user_id, drain).await;
    }

    async fn release(&self, user_id: &str, drain: Uuid) {
        self.queue.release(user_id, drain).await;
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        self.queue.remove(user_id, ids, drain).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.queue.probe().await
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        let kept = self.queue.keep(user_id, payloads).await;
        match (self.fault, kept) {
            (Fault::FailureHidden, Err(_)) => Ok((0..payloads.len() as u64).map(|n| EntryId(u64::MAX, n)).collect()),
            (Fault::HandedIsConfirmed, Ok(ids)) => {
                self.queue.confirm(user_id, &ids, 0).await?;
                Ok(ids)
            }
            (Fault::InMemory, Ok(ids)) => {
                let mut all = self.forgettable.lock().unwrap_or_else(PoisonError::into_inner);
                all.entry(user_id.to_owned()).or_default().extend(&ids);
                Ok(ids)
            }
            (_, kept) => kept,
        }
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        let mut backlog = self.queue.backlog(user_id, after, trim).await?;
        match self.fault {
            Fault::LossUntold => backlog.dropped = 0,
            Fault::LossToldOnce => backlog.dropped = self.untold(user_id, backlog.dropped),
            Fault::NewestFirst => backlog.entries.reverse(),
            Fault::AnotherId => backlog.entries.iter_mut().for_each(with_another_id),
            // What was kept by an earlier process is not known to this one.
            Fault::InMemory => {
                let known = self.forgettable(user_id);
                backlog.entries.retain(|entry| known.contains(&entry.id));
            }
            _ => {}
        }
        Ok(backlog)
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        match self.fault {
            Fault::ConfirmIgnored => Ok(()),
            Fault::ConfirmsAll => {
                let all: Vec<_> = self.queue.read(user_id).await?.iter().map(|entry| entry.id).collect();
                self.queue.confirm(user_id, &all, told).await
            }
            Fault::ConfirmsFirstOnly => self.queue.confirm(user_id, &ids[..ids.len().min(1)], told).await,
            _ => self.queue.confirm(user_id, ids, told).await,
        }
    }
}

fn with_another_id(entry: &mut Queued) {
    if let Ok(Value::Object(mut payload)) = serde_json::from_str(&entry.payload) {
        let other = format!("01a00000-0000-7000-8000-{:012x}", rand());
        payload.insert("eventId".to_owned(), Value::from(other));
        entry.payload = Value::Object(payload).to_string();
    }
}

/// Another number each time.
fn rand() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
