//! A session, and where sessions are kept. Says nothing of whose word a session is good for.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::StoreError;

/// A session that was created and not revoked since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub user_id: String,
    /// When it ends, in milliseconds of the Unix epoch; `None` where it only ends by being revoked.
    pub expires_at_ms: Option<i64>,
}

impl Session {
    /// Whether the session still holds.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.expires_at_ms.is_none_or(|end| end > now_ms())
    }
}

/// Milliseconds of the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// Where sessions are kept (EMIT-05).
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Creates or replaces a session; one that has already ended is as good as none.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError>;

    /// Revokes a session; false where there is none.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError>;

    /// The session of that id, if there is one.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError>;
}
