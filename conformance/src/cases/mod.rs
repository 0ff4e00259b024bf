//! The cases, in the order of SPEC.md.

mod auth;
mod config;
mod emit;
mod events;
mod origins;
mod queue;
mod rooms;
mod transport;

use crate::case::Case;

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
