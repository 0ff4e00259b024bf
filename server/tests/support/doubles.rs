//! Collaborators that fail when they are told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use notify_server::model::{
    AckQueue, Answers, Backlog, BoxFuture, Claim, EntryId, OfflineQueue, Outcome, Probe, Queued, Reinserted, Session,
    SessionStore, StoreError,
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

impl OfflineQueue for Fragile<dyn OfflineQueue> {
    fn append<'a>(&'a self, user: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.append(user, payloads).await
        })
    }

    fn reinsert<'a>(&'a self, user: &'a str, events: &'a [Reinserted<'a>]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.reinsert(user, events).await
        })
    }

    fn read<'a>(&'a self, user: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.read(user).await
        })
    }

    fn remove<'a>(
        &'a self,
        user: &'a str,
        ids: &'a [EntryId],
        drain: Option<Uuid>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.remove(user, ids, drain).await
        })
    }
}

impl AckQueue for Fragile<dyn AckQueue> {
    fn keep<'a>(&'a self, user: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.keep(user, payloads).await
        })
    }

    fn backlog<'a>(&'a self, user: &'a str, after: EntryId, trim: bool) -> BoxFuture<'a, Result<Backlog, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.backlog(user, after, trim).await
        })
    }

    fn confirm<'a>(&'a self, user: &'a str, ids: &'a [EntryId], told: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.confirm(user, ids, told).await
        })
    }
}

impl SessionStore for Fragile<dyn SessionStore> {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.put_session(id, session).await
        })
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.revoke_session(id).await
        })
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.session(id).await
        })
    }
}

impl Answers for Fragile<dyn Answers> {
    fn claim<'a>(&'a self, key: &'a str, by: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.claim(key, by, body).await
        })
    }

    fn renew<'a>(&'a self, key: &'a str, by: Uuid) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.renew(key, by).await
        })
    }

    fn settle<'a>(
        &'a self,
        key: &'a str,
        by: Uuid,
        body: &'a str,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.settle(key, by, body, outcome).await
        })
    }
}

impl Probe for Fragile<dyn Probe> {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.outage.check()?;
            self.inner.probe().await
        })
    }
}
