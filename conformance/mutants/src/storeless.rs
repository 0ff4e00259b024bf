//! What a server does when its store fails it, with one thing wrong.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use notify_server::{
    Collaborators,
    model::{Answers, Backlog, Claim, EntryId, Outcome, Queue, Queued, Reinserted, Session, SessionStore, StoreError},
};
use uuid::Uuid;

use crate::{nodes, queue::made_up};

/// What is wrong without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies of it.
    Dies,
    /// The answer is a long time in coming.
    Hangs,
    /// What cannot be stored is accepted.
    Accepts,
    /// A queue that is slow to read counts as empty.
    ReadsInHaste,
    /// A revocation that failed is confirmed.
    HidesRevocations,
    /// A key that cannot be looked up counts as new.
    HidesKeys,
}

/// How long is too long for an answer, and for a step of a store.
const LONG: Duration = Duration::from_secs(7);
const HASTE: Duration = Duration::from_millis(80);

/// The parts, with a fault.
pub(crate) fn breaks(sound: Collaborators, fault: Fault) -> Collaborators {
    let of_the_node = match fault {
        Fault::Dies => Some(nodes::Fault::DiesOfIt),
        Fault::Hangs => Some(nodes::Fault::Hangs),
        Fault::Accepts => Some(nodes::Fault::AcceptsAnyway),
        Fault::HidesRevocations => Some(nodes::Fault::EndsInVain),
        Fault::ReadsInHaste | Fault::HidesKeys => None,
    };
    let sound = match of_the_node {
        Some(fault) => nodes::breaks(sound, fault),
        None => sound,
    };
    Collaborators {
        queue: Arc::new(Failing { store: sound.queue.clone(), fault }),
        session_store: Arc::new(Failing { store: sound.session_store.clone(), fault }),
        answers: Arc::new(Failing { store: sound.answers.clone(), fault }),
        ..sound
    }
}

struct Failing<S: ?Sized> {
    store: Arc<S>,
    fault: Fault,
}

impl<S: ?Sized> Failing<S> {
    /// What the fault makes of a failure to write.
    async fn written<T>(&self, outcome: Result<T, StoreError>, pretended: T) -> Result<T, StoreError> {
        match (outcome, self.fault) {
            (Err(_), Fault::Dies) => std::process::abort(),
            (Err(error), Fault::Hangs) => {
                tokio::time::sleep(LONG).await;
                Err(error)
            }
            (Err(_), Fault::Accepts) => Ok(pretended),
            (outcome, _) => outcome,
        }
    }
}

impl Failing<dyn Queue> {
    /// What the fault makes of a queue that is being read.
    async fn in_haste<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
        nothing: T,
    ) -> Result<T, StoreError> {
        match self.fault {
            Fault::ReadsInHaste => tokio::time::timeout(HASTE, read).await.unwrap_or(Ok(nothing)),
            _ => read.await,
        }
    }
}

#[async_trait]
impl Queue for Failing<dyn Queue> {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.written(self.store.append(user_id, payloads).await, made_up(payloads)).await
    }

    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        self.written(self.store.reinsert(user_id, events).await, ()).await
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        self.in_haste(self.store.read(user_id), Vec::new()).await
    }

    async fn drain(&self, user_id: &str, drain: Uuid) -> Result<Option<Vec<Queued>>, StoreError> {
        self.in_haste(self.store.drain(user_id, drain), Some(Vec::new())).await
    }

    async fn renew_drain(&self, user_id: &str, drain: Uuid) {
        self.store.renew_drain(user_id, drain).await;
    }

    async fn release(&self, user_id: &str, drain: Uuid) {
        self.store.release(user_id, drain).await;
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        self.store.remove(user_id, ids, drain).await
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        let pretended = (0..payloads.len() as u64).map(|n| EntryId(u64::MAX, n)).collect();
        self.written(self.store.keep(user_id, payloads).await, pretended).await
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.store.backlog(user_id, after, trim).await
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.written(self.store.confirm(user_id, ids, told).await, ()).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.store.probe().await
    }
}

#[async_trait]
impl SessionStore for Failing<dyn SessionStore> {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        self.store.put_session(id, session).await
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        match (self.store.revoke_session(id).await, self.fault) {
            (Err(_), Fault::HidesRevocations) => Ok(true),
            (outcome, _) => outcome,
        }
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        self.store.session(id).await
    }
}

#[async_trait]
impl Answers for Failing<dyn Answers> {
    async fn claim(&self, key: &str, by: Uuid, body: &str) -> Result<Claim, StoreError> {
        match (self.store.claim(key, by, body).await, self.fault) {
            (Err(_), Fault::HidesKeys) => Ok(Claim::Ours(None)),
            (outcome, _) => outcome,
        }
    }

    async fn renew(&self, key: &str, by: Uuid) -> Result<(), StoreError> {
        self.store.renew(key, by).await
    }

    async fn settle(&self, key: &str, by: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        self.store.settle(key, by, body, outcome).await
    }
}
