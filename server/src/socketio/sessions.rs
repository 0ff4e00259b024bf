//! The sessions that began by polling, by id, so that their later requests are judged together.

use std::sync::{Arc, Weak};

use super::connection::Connection;
use crate::sharded::Sharded;

/// By the id that the library has chosen.
#[derive(Default)]
pub(crate) struct Sessions(Sharded<Weak<Connection>>);

/// A place in the list, which ends when it is dropped.
pub(crate) struct Listing {
    sid: String,
    sessions: Weak<Sessions>,
}

impl Sessions {
    pub(super) fn list(self: &Arc<Self>, sid: &str, connection: &Arc<Connection>) -> Listing {
        self.0.shard(sid).insert(sid.into(), Arc::downgrade(connection));
        Listing { sid: sid.to_owned(), sessions: Arc::downgrade(self) }
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        self.0.shard(sid).get(sid)?.upgrade()
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.0.shard(&self.sid).remove(&*self.sid);
        }
    }
}
