//! The cases, in the order of SPEC.md.

mod auth;
mod config;
mod emit;
mod events;
mod origins;
mod queue;
mod rooms;
mod transport;

use std::time::Duration;

use crate::case::Case;

/// How long nothing must arrive, once a sentinel has shown that what could arrive would have.
const QUIET: Duration = Duration::from_millis(300);

/// Every case.
pub fn all() -> Vec<Case> {
    [
        transport::CASES,
        auth::CASES,
        rooms::CASES,
        events::CASES,
        queue::CASES,
        emit::CASES,
        origins::CASES,
        config::CASES,
    ]
    .concat()
}
