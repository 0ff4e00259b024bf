//! Watches what clients send, and closes the connection of whoever breaks the protocol.
//!
//! socketioxide drops some of what SPEC.md wants to be fatal (a second CONNECT, an EVENT for a namespace that nobody
//! joined, a packet that is not JSON to its end) and offers no way to close a transport. So each transport is watched from
//! outside: WebSockets by reading along as their bytes come in, polling sessions by reading each POST first.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) mod packet;
pub(crate) mod tap;
pub(crate) mod transport;
pub(crate) mod watched;

/// The namespace, and the only one (TRANS-05).
pub(crate) const NAMESPACE: &str = "/notifications";

/// The most that a client may send in one message or POST, announced as `maxPayload` (TRANS-11).
pub(crate) const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// What a client did wrong. Its connection is closed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a malformed packet")]
    Malformed,
    #[error("a packet for a namespace that was not joined")]
    NotJoined,
    #[error("a second CONNECT")]
    SecondConnect,
    #[error("a message above the limit")]
    TooLarge,
}

/// One Engine.IO session, whatever transport it uses. Goes with the handshake request, so that the Socket.IO handlers find
/// it there, and lives as long as the session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// A CONNECT to [`NAMESPACE`] was sent, and neither refused nor undone by a DISCONNECT.
    entered: AtomicBool,
    /// The transport is known to be going: nothing more can be handed to it.
    departed: AtomicBool,
    listed: OnceLock<(String, Weak<Sessions>)>,
}

impl Session {
    /// Notes a CONNECT; false where it is a second one (TRANS-08).
    pub(crate) fn enter(&self) -> bool {
        !self.entered.swap(true, Ordering::SeqCst)
    }

    /// Notes that the CONNECT was refused or undone, so that another may follow.
    pub(crate) fn leave(&self) {
        self.entered.store(false, Ordering::SeqCst);
    }

    pub(crate) fn depart(&self) {
        self.departed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_departed(&self) -> bool {
        self.departed.load(Ordering::SeqCst)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((sid, sessions)) = self.listed.get()
            && let Some(sessions) = sessions.upgrade()
        {
            sessions.lock().remove(sid);
        }
    }
}

/// The sessions that began by polling, by id, so that their later requests are judged together.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Weak<Session>>>);

impl Sessions {
    pub(crate) fn list(self: &Arc<Self>, sid: String, session: &Arc<Session>) {
        self.lock().insert(sid.clone(), Arc::downgrade(session));
        session.listed.set((sid, Arc::downgrade(self))).ok();
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Session>> {
        self.lock().get(sid)?.upgrade()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Session>>> {
        // Every change is a single call, so a panic elsewhere cannot have left it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
