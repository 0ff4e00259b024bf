//! Watches what clients send, and closes the connection of whoever breaks the protocol.
//!
//! socketioxide drops some of what SPEC.md wants to be fatal (a second CONNECT, an EVENT for a namespace that nobody
//! joined, a packet that is not JSON to its end) and offers no way to close a transport. So each transport is watched from
//! outside: WebSockets by reading along as their bytes come in, polling sessions by reading each POST first.
//!
//! The same place sees which events have left: a connection's `outbox` holds what its transport has not taken yet.

mod gauge;
pub(crate) mod outbox;
mod packet;
mod poll;
pub(crate) mod session;
mod tap;
pub(crate) mod transport;
mod watched;

pub(crate) use session::{Session, Sessions};

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
