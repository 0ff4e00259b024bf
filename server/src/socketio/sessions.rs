//! The sessions that began by polling, by id, so that their later requests are judged together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::connection::Connection;

/// By the id that the library has chosen.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Weak<Connection>>>);

/// A place in the list, which ends when it is dropped.
pub(crate) struct Listing {
    sid: String,
    sessions: Weak<Sessions>,
}

impl Sessions {
    pub(super) fn list(self: &Arc<Self>, sid: &str, connection: &Arc<Connection>) -> Listing {
        self.lock().insert(sid.to_owned(), Arc::downgrade(connection));
        Listing { sid: sid.to_owned(), sessions: Arc::downgrade(self) }
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        self.lock().get(sid)?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Connection>>> {
        // Every change is a single call, so a panic elsewhere cannot have left it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.lock().remove(&self.sid);
        }
    }
}
