//! Collaborators that fail when they are told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use notify_server::model::{
    Answers, Backlog, Claim, EntryId, Outcome, Queue, Queued, Reinserted, Session, SessionStore, StoreError,
};
use uuid::Uuid;

/// How often the store can still be asked.
#[derive(Clone)]
pub(crate) struct Outage(Arc<AtomicUsize>);

impl Default for Outage {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

impl Outage {
    pub(crate) fn begin(&self) {
        self.begin_after(0);
    }

    pub(crate) fn begin_after(&self, steps: usize) {
        self.0.store(steps, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.begin_after(usize::MAX);
    }

    fn check(&self) -> Result<(), StoreError> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |steps| match steps {
            usize::MAX => Some(steps),
            _ => steps.checked_sub(1),
        });
        left.map(drop).map_err(|_| StoreError::TimedOut(Duration::ZERO))
    }
}

/// A face of a store that fails during an outage.
pub(crate) struct Fragile<S: ?Sized> {
    pub(crate) inner: Arc<S>,
    pub(crate) outage: Outage,
}

impl<S: ?Sized> Fragile<S> {
    pub(crate) fn wrap(inner: &Arc<S>, outage: &Outage) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), outage: outage.clone() })
    }
}

#[async_trait]
impl Queue for Fragile<dyn Queue> {
    async fn append(&self, user: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.outage.check()?;
        self.inner.append(user, payloads).await
    }

    async fn reinsert(&self, user: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.reinsert(user, events).await
    }

    async fn read(&self, user: &str) -> Result<Vec<Queued>, StoreError> {
        self.outage.check()?;
        self.inner.read(user).await
    }

    async fn remove(&self, user: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.remove(user, ids, drain).await
    }

    async fn keep(&self, user: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.outage.check()?;
        self.inner.keep(user, payloads).await
    }

    async fn backlog(&self, user: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.outage.check()?;
        self.inner.backlog(user, after, trim).await
    }

    async fn confirm(&self, user: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.confirm(user, ids, told).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.probe().await
    }
}

#[async_trait]
impl SessionStore for Fragile<dyn SessionStore> {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.put_session(id, session).await
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        self.outage.check()?;
        self.inner.revoke_session(id).await
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        self.outage.check()?;
        self.inner.session(id).await
    }
}

#[async_trait]
impl Answers for Fragile<dyn Answers> {
    async fn claim(&self, key: &str, by: Uuid, body: &str) -> Result<Claim, StoreError> {
        self.outage.check()?;
        self.inner.claim(key, by, body).await
    }

    async fn renew(&self, key: &str, by: Uuid) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.renew(key, by).await
    }

    async fn settle(&self, key: &str, by: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        self.outage.check()?;
        self.inner.settle(key, by, body, outcome).await
    }
}
