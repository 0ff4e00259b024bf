//! The words that all rooms share, and what a store promises them. Knows none of the rooms.

mod secret;
mod store;

pub use secret::Secret;
pub use store::{BoxFuture, Channel, Probe, StoreError};
