//! What the stories of several areas use. Cases know the kit, and never one another.

pub(crate) mod acks;
pub(crate) mod again;
pub(crate) mod by_hand;
pub(crate) mod control;
pub(crate) mod numbers;
pub(crate) mod outage;
pub(crate) mod people;
pub(crate) mod queue;
pub(crate) mod server;
pub(crate) mod slow;
pub(crate) mod texts;
pub(crate) mod upgrade;

use std::time::Duration;

/// How long nothing must arrive, once a sentinel has shown that what could arrive would have.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// Where the requests of a polling session go.
pub(crate) fn polling_path(sid: &str) -> String {
    format!("/socket.io/?EIO=4&transport=polling&sid={sid}")
}
