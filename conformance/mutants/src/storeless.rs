//! What a server does when its store fails it, with one thing wrong.

use std::{sync::Arc, time::Duration};
use uuid::Uuid;

use crate::queue::made_up;

use notify_server::{
    Collaborators,
    model::{
        AckQueue, Answers, Backlog, BoxFuture, Claim, EntryId, OfflineQueue, Outcome, Probe, Queued, Reinserted,
        Session, SessionStore, StoreError,
    },
};

use crate::nodes;

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
        acks: Arc::new(Failing { store: sound.acks.clone(), fault }),
        session_store: Arc::new(Failing { store: sound.session_store.clone(), fault }),
        answers: Arc::new(Failing { store: sound.answers.clone(), fault }),
        ..sound
    }
}

/// Trusts a store that throws things away.
pub(crate) struct Trusting(pub(crate) Arc<dyn Probe>);

impl Probe for Trusting {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match self.0.probe().await {
                Err(StoreError::Evicts) => Ok(()),
                outcome => outcome,
            }
        })
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

impl Failing<dyn OfflineQueue> {
    /// What the fault makes of a queue that is being read.
    fn in_haste<'a, T: Send + 'static>(
        &'a self,
        read: BoxFuture<'a, Result<T, StoreError>>,
        nothing: T,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        match self.fault {
            Fault::ReadsInHaste => Box::pin(async move {
                let read = tokio::time::timeout(HASTE, read).await;
                read.unwrap_or(Ok(nothing))
            }),
            _ => read,
        }
    }
}

impl OfflineQueue for Failing<dyn OfflineQueue> {
    fn append<'a>(
        &'a self,
        user_id: &'a str,
        payloads: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        Box::pin(async move { self.written(self.store.append(user_id, payloads).await, made_up(payloads)).await })
    }

    fn reinsert<'a>(&'a self, user_id: &'a str, events: &'a [Reinserted<'a>]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.written(self.store.reinsert(user_id, events).await, ()).await })
    }

    fn read<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>> {
        self.in_haste(self.store.read(user_id), Vec::new())
    }

    fn drain<'a>(&'a self, user_id: &'a str, drain: Uuid) -> BoxFuture<'a, Result<Option<Vec<Queued>>, StoreError>> {
        self.in_haste(self.store.drain(user_id, drain), Some(Vec::new()))
    }

    fn renew_drain<'a>(&'a self, user_id: &'a str, drain: Uuid) -> BoxFuture<'a, ()> {
        self.store.renew_drain(user_id, drain)
    }

    fn release<'a>(&'a self, user_id: &'a str, drain: Uuid) -> BoxFuture<'a, ()> {
        self.store.release(user_id, drain)
    }

    fn remove<'a>(
        &'a self,
        user_id: &'a str,
        ids: &'a [EntryId],
        drain: Option<Uuid>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.remove(user_id, ids, drain)
    }
}

impl AckQueue for Failing<dyn AckQueue> {
    fn keep<'a>(
        &'a self,
        user_id: &'a str,
        payloads: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        Box::pin(async move {
            let pretended = (0..payloads.len() as u64).map(|n| EntryId(u64::MAX, n)).collect();
            self.written(self.store.keep(user_id, payloads).await, pretended).await
        })
    }

    fn backlog<'a>(
        &'a self,
        user_id: &'a str,
        after: EntryId,
        trim: bool,
    ) -> BoxFuture<'a, Result<Backlog, StoreError>> {
        self.store.backlog(user_id, after, trim)
    }

    fn confirm<'a>(&'a self, user_id: &'a str, ids: &'a [EntryId], told: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.written(self.store.confirm(user_id, ids, told).await, ()).await })
    }
}

impl SessionStore for Failing<dyn SessionStore> {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.put_session(id, session)
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            match (self.store.revoke_session(id).await, self.fault) {
                (Err(_), Fault::HidesRevocations) => Ok(true),
                (outcome, _) => outcome,
            }
        })
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        self.store.session(id)
    }
}

impl Answers for Failing<dyn Answers> {
    fn claim<'a>(&'a self, key: &'a str, by: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(async move {
            match (self.store.claim(key, by, body).await, self.fault) {
                (Err(_), Fault::HidesKeys) => Ok(Claim::Ours(None)),
                (outcome, _) => outcome,
            }
        })
    }

    fn renew<'a>(&'a self, key: &'a str, by: Uuid) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.renew(key, by)
    }

    fn settle<'a>(
        &'a self,
        key: &'a str,
        by: Uuid,
        body: &'a str,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.settle(key, by, body, outcome)
    }
}
