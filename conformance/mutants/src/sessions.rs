//! Session verification and keeping with one thing wrong.

use std::sync::Arc;

use async_trait::async_trait;
use notify_server::{
    auth::session::{SessionError, VerifySession},
    model::{Session, SessionStore, StoreError},
};

/// What is wrong with the verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NotLookedUp,
    OwnerNotCompared,
    OwnerByPrefix,
    StoreAwayLetsIn,
    StoreAwayToldAsInvalid,
    EmptyIdLetsIn,
}

/// A verifier with a fault.
pub(crate) struct Faulty {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) fault: Fault,
}

#[async_trait]
impl VerifySession for Faulty {
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError> {
        if self.fault == Fault::NotLookedUp || (self.fault == Fault::EmptyIdLetsIn && session_id.is_empty()) {
            return Ok(None);
        }
        let session = match (self.store.session(session_id).await, self.fault) {
            (Ok(Some(session)), _) if session.is_live() => session,
            (Err(_), Fault::StoreAwayLetsIn) => return Ok(None),
            (Err(_), Fault::StoreAwayToldAsInvalid) | (Ok(_), _) => return Err(SessionError::Invalid),
            (Err(error), _) => return Err(error.into()),
        };
        let owns = match self.fault {
            Fault::OwnerNotCompared => true,
            Fault::OwnerByPrefix => session.user_id.starts_with(user_id) || user_id.starts_with(&session.user_id),
            _ => session.user_id == user_id,
        };
        if owns { Ok(session.expires_at_ms) } else { Err(SessionError::Invalid) }
    }
}

/// Tells on the log who connects.
pub(crate) struct Telling(pub(crate) Arc<dyn VerifySession>);

#[async_trait]
impl VerifySession for Telling {
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError> {
        eprintln!("{user_id} connects");
        self.0.verify(session_id, user_id).await
    }
}

/// A store that forgets a part of what it is told.
pub(crate) struct Forgetful {
    pub(crate) store: Arc<dyn SessionStore>,
    /// Revocations are confirmed and not carried out; else the end of a session is not kept.
    pub(crate) revocations: bool,
}

#[async_trait]
impl SessionStore for Forgetful {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        let endless = Session { expires_at_ms: None, ..session.clone() };
        self.store.put_session(id, if self.revocations { session } else { &endless }).await
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        if self.revocations { Ok(self.store.session(id).await?.is_some()) } else { self.store.revoke_session(id).await }
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        self.store.session(id).await
    }
}

/// A verifier that asks nothing more of a user who has come in once.
pub(crate) struct OnceIn {
    pub(crate) sessions: Arc<dyn VerifySession>,
    pub(crate) users: std::sync::Mutex<std::collections::HashSet<String>>,
}

#[async_trait]
impl VerifySession for OnceIn {
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError> {
        let known = |users: &std::sync::Mutex<std::collections::HashSet<String>>| {
            users.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(user_id)
        };
        if known(&self.users) {
            return Ok(None);
        }
        let end = self.sessions.verify(session_id, user_id).await?;
        self.users.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(user_id.to_owned());
        Ok(end)
    }
}

/// A verifier that knows of no session when it ends.
pub(crate) struct EndUntold(pub(crate) Arc<dyn VerifySession>);

#[async_trait]
impl VerifySession for EndUntold {
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError> {
        self.0.verify(session_id, user_id).await.map(|_| None)
    }
}
