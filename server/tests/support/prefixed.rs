//! A store of one test within a store of many: every key has a prefix.

use async_trait::async_trait;
use notify_server::model::{
    Answers, Backlog, Claim, EntryId, Outcome, Queue, Queued, Reinserted, Session, SessionStore, StoreError,
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

#[async_trait]
impl<S: Queue> Queue for Prefixed<S> {
    async fn append(&self, user: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.inner.append(&self.key(user), payloads).await
    }

    async fn reinsert(&self, user: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        self.inner.reinsert(&self.key(user), events).await
    }

    async fn read(&self, user: &str) -> Result<Vec<Queued>, StoreError> {
        self.inner.read(&self.key(user)).await
    }

    async fn remove(&self, user: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        self.inner.remove(&self.key(user), ids, drain).await
    }

    async fn keep(&self, user: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.inner.keep(&self.key(user), payloads).await
    }

    async fn backlog(&self, user: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.inner.backlog(&self.key(user), after, trim).await
    }

    async fn confirm(&self, user: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.inner.confirm(&self.key(user), ids, told).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for Prefixed<S> {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        self.inner.put_session(&self.key(id), session).await
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        self.inner.revoke_session(&self.key(id)).await
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        self.inner.session(&self.key(id)).await
    }
}

#[async_trait]
impl<S: Answers> Answers for Prefixed<S> {
    async fn claim(&self, key: &str, by: Uuid, body: &str) -> Result<Claim, StoreError> {
        self.inner.claim(&self.key(key), by, body).await
    }

    async fn renew(&self, key: &str, by: Uuid) -> Result<(), StoreError> {
        self.inner.renew(&self.key(key), by).await
    }

    async fn settle(&self, key: &str, by: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        self.inner.settle(&self.key(key), by, body, outcome).await
    }
}
