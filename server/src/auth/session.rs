//! Whether a session holds. Knows nothing of tokens or sockets.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{SessionStore, StoreError};

/// Why a session was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Unknown, revoked, expired or another user's (AUTH-14 to AUTH-17). Which of them is nobody's business.
    #[error("the session does not hold")]
    Invalid,
    /// Nobody could say (AUTH-22).
    #[error("the session could not be verified")]
    Unavailable(#[from] StoreError),
}

/// Verifies that a session holds and belongs to a user.
#[async_trait]
pub trait VerifySession: Send + Sync + 'static {
    /// Verifies a session, and says when it will end, in milliseconds of the Unix epoch; `None` where that is not known yet.
    ///
    /// # Errors
    /// Where the session does not hold (AUTH-14 to AUTH-17), or nobody could say (AUTH-22).
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError>;
}

/// Verifies sessions against those that are stored.
pub struct StoredSessions(pub Arc<dyn SessionStore>);

#[async_trait]
impl VerifySession for StoredSessions {
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError> {
        match self.0.session(session_id).await? {
            Some(session) if session.user_id == user_id && session.is_live() => Ok(session.expires_at_ms),
            _ => Err(SessionError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Session, now_ms};

    /// Holds one session, or cannot be asked.
    struct One(Result<Option<Session>, ()>);

    #[async_trait]
    impl SessionStore for One {
        async fn put_session(&self, _: &str, _: &Session) -> Result<(), StoreError> {
            Ok(())
        }
        async fn revoke_session(&self, _: &str) -> Result<bool, StoreError> {
            Ok(false)
        }
        async fn session(&self, _: &str) -> Result<Option<Session>, StoreError> {
            self.0.clone().map_err(|()| StoreError::TimedOut(Duration::ZERO))
        }
    }

    async fn verify(stored: Result<Option<Session>, ()>) -> Result<Option<i64>, SessionError> {
        StoredSessions(Arc::new(One(stored))).verify("s", "alice").await
    }

    fn session(user: &str, expires_at_ms: Option<i64>) -> Result<Option<Session>, ()> {
        Ok(Some(Session { user_id: user.into(), expires_at_ms }))
    }

    #[tokio::test]
    async fn a_session_of_the_user_that_has_not_ended_is_accepted() {
        for end in [None, Some(now_ms() + 60_000)] {
            assert_eq!(verify(session("alice", end)).await.unwrap(), end);
        }
    }

    #[tokio::test]
    async fn an_unknown_session_is_refused() {
        assert!(matches!(verify(Ok(None)).await, Err(SessionError::Invalid)));
    }

    #[tokio::test]
    async fn an_expired_session_is_refused() {
        let ended = session("alice", Some(now_ms() - 1));
        assert!(matches!(verify(ended).await, Err(SessionError::Invalid)));
    }

    #[tokio::test]
    async fn a_session_of_another_user_is_refused() {
        for other in ["bob", "Alice", "alice ", ""] {
            assert!(matches!(verify(session(other, None)).await, Err(SessionError::Invalid)));
        }
    }

    #[tokio::test]
    async fn a_session_that_nobody_can_look_up_is_told_apart() {
        assert!(matches!(verify(Err(())).await, Err(SessionError::Unavailable(_))));
    }
}
