//! The clients that stand behind a verdict: one face, two implementations.
//!
//! `wire` is the suite's own and sees every packet; `library` is rust_socketio, so that ordinary cases speak through a
//! client that people really use.

mod engine;
mod face;
mod library;
mod packet;
mod polling;
mod websocket;
mod wire;

pub use engine::{EnginePacket, Handshake};
pub use face::{Arrival, Client, Delivery, Refusal};
pub use packet::{Kind, Packet, PacketError};
pub use websocket::{Heard, Side};
pub use wire::{Incoming, Opening, Seen, Transport, Wire, WireError};
