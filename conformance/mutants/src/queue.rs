//! The offline queue with one thing wrong, over the real store.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use notify_server::model::{Backlog, EntryId, Queue, Queued, Reinserted, StoreError};
use uuid::Uuid;

/// The cap of the contract.
const CAP: usize = 50;

/// What is wrong with the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NewestFirst,
    OldestKept,
    CapOverAllUsers,
    NotCleared,
    AcceptedThoughNotStored,
    NothingStored,
    CorruptEntryLosesAll,
    AgeRefreshed,
    OnlyTheNewestDelivered,
    /// What comes back goes behind whatever is there.
    PutsBackLast,
    /// What another node is just handing over is handed over as well.
    DrainsBesideOthers,
    /// A queue is removed as soon as it is read to be handed over.
    ClearedWhenRead,
    /// It says that the store answers, whatever it does.
    AlwaysReady,
    /// It trusts a store that throws things away.
    EvictionsGranted,
}

/// How long what was handed over stays there for others: a store that is some way off.
const BESIDE: Duration = Duration::from_millis(20);

/// A queue with a fault.
pub(crate) struct Faulty {
    queue: Arc<dyn Queue>,
    fault: Fault,
    /// The users of all that was appended, oldest first.
    appended: Mutex<VecDeque<String>>,
}

impl Faulty {
    pub(crate) fn new(queue: Arc<dyn Queue>, fault: Fault) -> Self {
        Self { queue, fault, appended: Mutex::default() }
    }

    /// Evicts the oldest event of whoever holds it.
    async fn evict_over_all_users(&self, user_id: &str) -> Result<(), StoreError> {
        let victim = {
            let mut appended = self.appended.lock().unwrap_or_else(PoisonError::into_inner);
            appended.push_back(user_id.to_owned());
            if appended.len() > CAP { appended.pop_front() } else { None }
        };
        let Some(victim) = victim else { return Ok(()) };
        let oldest = self.queue.read(&victim).await?.first().map(|entry| entry.id);
        match oldest {
            Some(id) => self.queue.remove(&victim, &[id], None).await,
            None => Ok(()),
        }
    }
}

impl Faulty {
    /// What the fault makes of what is queued.
    fn spoiled(&self, mut entries: Vec<Queued>) -> Vec<Queued> {
        match self.fault {
            Fault::NewestFirst => entries.reverse(),
            Fault::CorruptEntryLosesAll if entries.iter().any(|entry| !entry.payload.starts_with('{')) => {
                entries.clear()
            }
            Fault::OnlyTheNewestDelivered => drop(entries.drain(..entries.len().saturating_sub(1))),
            _ => {}
        }
        entries
    }
}

/// Names for what is not stored.
pub(crate) fn made_up(payloads: &[&str]) -> Vec<EntryId> {
    vec![EntryId::default(); payloads.len()]
}

#[async_trait]
impl Queue for Faulty {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        match self.fault {
            Fault::NothingStored => return Ok(made_up(payloads)),
            Fault::AcceptedThoughNotStored => {
                let _ = self.queue.append(user_id, payloads).await;
                return Ok(made_up(payloads));
            }
            Fault::OldestKept if self.queue.read(user_id).await?.len() >= CAP => return Ok(made_up(payloads)),
            Fault::AgeRefreshed => {
                let old = self.queue.read(user_id).await?;
                self.queue.remove(user_id, &old.iter().map(|entry| entry.id).collect::<Vec<_>>(), None).await?;
                let all: Vec<_> = old.iter().map(|entry| &*entry.payload).chain(payloads.iter().copied()).collect();
                let mut ids = self.queue.append(user_id, &all).await?;
                return Ok(ids.split_off(old.len()));
            }
            _ => {}
        }
        let ids = self.queue.append(user_id, payloads).await?;
        if self.fault == Fault::CapOverAllUsers {
            for _ in payloads {
                self.evict_over_all_users(user_id).await?;
            }
        }
        Ok(ids)
    }

    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        match self.fault {
            Fault::NothingStored => Ok(()),
            Fault::PutsBackLast => {
                let payloads: Vec<_> = events.iter().map(|event| event.payload).collect();
                self.queue.append(user_id, &payloads).await.map(drop)
            }
            _ => self.queue.reinsert(user_id, events).await,
        }
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        Ok(self.spoiled(self.queue.read(user_id).await?))
    }

    async fn drain(&self, user_id: &str, drain: Uuid) -> Result<Option<Vec<Queued>>, StoreError> {
        match self.fault {
            Fault::ClearedWhenRead => {
                let entries = self.queue.drain(user_id, drain).await?;
                let ids: Vec<_> = entries.iter().flatten().map(|entry| entry.id).collect();
                self.queue.remove(user_id, &ids, Some(drain)).await?;
                Ok(entries)
            }
            Fault::DrainsBesideOthers => self.read(user_id).await.map(Some),
            _ => Ok(self.queue.drain(user_id, drain).await?.map(|entries| self.spoiled(entries))),
        }
    }

    async fn renew_drain(&self, user_id: &str, drain: Uuid) {
        self.queue.renew_drain(user_id, drain).await;
    }

    async fn release(&self, user_id: &str, drain: Uuid) {
        self.queue.release(user_id, drain).await;
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        if self.fault == Fault::DrainsBesideOthers {
            tokio::time::sleep(BESIDE).await;
        }
        if self.fault != Fault::NotCleared {
            return self.queue.remove(user_id, ids, drain).await;
        }
        if let Some(drain) = drain {
            self.queue.release(user_id, drain).await;
        }
        Ok(())
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.queue.keep(user_id, payloads).await
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.queue.backlog(user_id, after, trim).await
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.queue.confirm(user_id, ids, told).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        match (self.queue.probe().await, self.fault) {
            (_, Fault::AlwaysReady) | (Err(StoreError::Evicts), Fault::EvictionsGranted) => Ok(()),
            (outcome, _) => outcome,
        }
    }
}

/// A queue that is gone with the process, but for what is kept for those who acknowledge.
pub(crate) struct InMemory {
    queues: Mutex<HashMap<String, VecDeque<Queued>>>,
    acks: Arc<dyn Queue>,
}

impl InMemory {
    pub(crate) fn new(acks: Arc<dyn Queue>) -> Self {
        Self { queues: Mutex::default(), acks }
    }
}

#[async_trait]
impl Queue for InMemory {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(user_id.to_owned()).or_default();
        let mut ids = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let next = queue.back().map_or(0, |entry| entry.id.0 + 1);
            queue.push_back(Queued { id: EntryId(next, 0), payload: (*payload).to_owned() });
            ids.push(EntryId(next, 0));
            if queue.len() > CAP {
                queue.pop_front();
            }
        }
        Ok(ids)
    }

    /// Behind whatever is there.
    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        let payloads: Vec<_> = events.iter().map(|event| event.payload).collect();
        self.append(user_id, &payloads).await.map(drop)
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(queues.get(user_id).into_iter().flatten().cloned().collect())
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], _drain: Option<Uuid>) -> Result<(), StoreError> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(user_id) {
            queue.retain(|entry| !ids.contains(&entry.id));
        }
        Ok(())
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.acks.keep(user_id, payloads).await
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.acks.backlog(user_id, after, trim).await
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.acks.confirm(user_id, ids, told).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.acks.probe().await
    }
}
