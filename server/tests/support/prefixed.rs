//! A store of one test within a store of many: every key has a prefix.

use notify_server::model::{
    AckQueue, Answers, Backlog, BoxFuture, Claim, EntryId, OfflineQueue, Outcome, Probe, Queued, Reinserted, Session,
    SessionStore, StoreError,
};

use uuid::Uuid;

pub(crate) struct Prefixed<S> {
    pub(crate) inner: S,
    pub(crate) prefix: String,
}

impl<S> Prefixed<S> {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl<S: OfflineQueue> OfflineQueue for Prefixed<S> {
    fn append<'a>(&'a self, user: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        Box::pin(async move { self.inner.append(&self.key(user), payloads).await })
    }

    fn reinsert<'a>(&'a self, user: &'a str, events: &'a [Reinserted<'a>]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.reinsert(&self.key(user), events).await })
    }

    fn read<'a>(&'a self, user: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>> {
        Box::pin(async move { self.inner.read(&self.key(user)).await })
    }

    fn remove<'a>(
        &'a self,
        user: &'a str,
        ids: &'a [EntryId],
        drain: Option<Uuid>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.remove(&self.key(user), ids, drain).await })
    }
}

impl<S: AckQueue> AckQueue for Prefixed<S> {
    fn keep<'a>(&'a self, user: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<EntryId>, StoreError>> {
        Box::pin(async move { self.inner.keep(&self.key(user), payloads).await })
    }

    fn backlog<'a>(&'a self, user: &'a str, after: EntryId, trim: bool) -> BoxFuture<'a, Result<Backlog, StoreError>> {
        Box::pin(async move { self.inner.backlog(&self.key(user), after, trim).await })
    }

    fn confirm<'a>(&'a self, user: &'a str, ids: &'a [EntryId], told: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.confirm(&self.key(user), ids, told).await })
    }
}

impl<S: SessionStore> SessionStore for Prefixed<S> {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.put_session(&self.key(id), session).await })
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { self.inner.revoke_session(&self.key(id)).await })
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        Box::pin(async move { self.inner.session(&self.key(id)).await })
    }
}

impl<S: Answers> Answers for Prefixed<S> {
    fn claim<'a>(&'a self, key: &'a str, by: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(async move { self.inner.claim(&self.key(key), by, body).await })
    }

    fn renew<'a>(&'a self, key: &'a str, by: Uuid) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.renew(&self.key(key), by).await })
    }

    fn settle<'a>(
        &'a self,
        key: &'a str,
        by: Uuid,
        body: &'a str,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.settle(&self.key(key), by, body, outcome).await })
    }
}

impl<S: Probe> Probe for Prefixed<S> {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.probe()
    }
}
