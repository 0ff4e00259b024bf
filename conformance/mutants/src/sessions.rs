//! Session verification and keeping with one thing wrong.

use std::sync::Arc;

use notify_server::{
    auth::session::{SessionError, VerifySession},
    model::{BoxFuture, Session, SessionStore, StoreError},
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

impl VerifySession for Faulty {
    fn verify<'a>(&'a self, session_id: &'a str, user_id: &'a str) -> BoxFuture<'a, Result<Option<i64>, SessionError>> {
        Box::pin(async move {
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
        })
    }
}

/// Tells on the log who connects.
pub(crate) struct Telling(pub(crate) Arc<dyn VerifySession>);

impl VerifySession for Telling {
    fn verify<'a>(&'a self, session_id: &'a str, user_id: &'a str) -> BoxFuture<'a, Result<Option<i64>, SessionError>> {
        eprintln!("{user_id} connects");
        self.0.verify(session_id, user_id)
    }
}

/// A store that forgets a part of what it is told.
pub(crate) struct Forgetful {
    pub(crate) store: Arc<dyn SessionStore>,
    /// Revocations are confirmed and not carried out; else the end of a session is not kept.
    pub(crate) revocations: bool,
}

impl SessionStore for Forgetful {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let endless = Session { expires_at_ms: None, ..session.clone() };
            self.store.put_session(id, if self.revocations { session } else { &endless }).await
        })
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if self.revocations {
                Ok(self.store.session(id).await?.is_some())
            } else {
                self.store.revoke_session(id).await
            }
        })
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        self.store.session(id)
    }
}

/// A verifier that asks nothing more of a user who has come in once.
pub(crate) struct OnceIn {
    pub(crate) sessions: Arc<dyn VerifySession>,
    pub(crate) users: std::sync::Mutex<std::collections::HashSet<String>>,
}

impl VerifySession for OnceIn {
    fn verify<'a>(&'a self, session_id: &'a str, user_id: &'a str) -> BoxFuture<'a, Result<Option<i64>, SessionError>> {
        Box::pin(async move {
            let known = |users: &std::sync::Mutex<std::collections::HashSet<String>>| {
                users.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(user_id)
            };
            if known(&self.users) {
                return Ok(None);
            }
            let end = self.sessions.verify(session_id, user_id).await?;
            self.users.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(user_id.to_owned());
            Ok(end)
        })
    }
}

/// A verifier that knows of no session when it ends.
pub(crate) struct EndUntold(pub(crate) Arc<dyn VerifySession>);

impl VerifySession for EndUntold {
    fn verify<'a>(&'a self, session_id: &'a str, user_id: &'a str) -> BoxFuture<'a, Result<Option<i64>, SessionError>> {
        Box::pin(async move { self.0.verify(session_id, user_id).await.map(|_| None) })
    }
}
