//! All that knows socketioxide and Engine.IO: the namespace and who is let into it, the transports, what clients are handed and what
//! they have taken. What the library cannot do, and what is done about it, stands in `socketio/UPSTREAM.md`.
//!
//! From the outside inwards: `transport` takes the requests, `upgrade` and `polling` are two of its ways; `stream` is what the library
//! reads and writes, `client_frames` and `packet` judge what clients send, `early` how much of it, `follower` what the library sends.
//! `connection` is one session: its `membership`s of the namespace follow each other, its `outbox` holds what its transport has not
//! taken, the `flusher` writes it, `acks` waits for answers. `namespace` lets clients in; a `device` is one of them, `roster` knows who
//! is here, and `sockets` hands them events for the service.

pub(crate) mod acks;
pub(crate) mod carrier;
mod client_frames;
mod connection;
mod device;
mod early;
pub(crate) mod flusher;
mod follower;
mod given;
mod membership;
pub(crate) mod namespace;
mod outbox;
mod packet;
mod polling;
pub(crate) mod roster;
mod sessions;
pub(crate) mod sockets;
mod stream;
pub(crate) mod transport;
mod upgrade;

pub(crate) use connection::{Connection, Lines};
pub use namespace::Heartbeat;
pub(crate) use sessions::Sessions;

use crate::gate::Reason;

/// The most that a client may send in one message or POST, announced as `maxPayload` (TRANS-11).
pub(crate) const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// What those join who were not let in and have to make room: the library keeps their memory until then. Nobody else is let into it.
const LEAVING: &str = "/leaving";
const LEAVING_PACKET: &str = "40/leaving,";

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
    #[error("more than a client may send before it was let in")]
    TooMuch,
    #[error("more events in a second than a client may send")]
    TooFast,
}

impl Violation {
    /// Counts it, where it is one of quantity.
    fn count(self, connection: &Connection) {
        match self {
            Self::TooMuch => connection.refused(Reason::Early),
            Self::TooFast => connection.refused(Reason::Rate),
            Self::Malformed | Self::NotJoined | Self::SecondConnect | Self::TooLarge => {}
        }
    }
}
