//! The reference server of real-time notifications: who may connect, what reaches them, and what waits for them.
//!
//! The rules are the numbered sentences of `conformance/SPEC.md`; comments name them by their ids. `ARCHITECTURE.md`
//! has the picture of these modules, and follows one event and one connect through them.
//!
//! - [`app`] puts the parts together, [`serve`] runs them, [`config`] reads the settings, [`dev`] makes some up, [`logs`] says what is logged.
//! - [`socketio`] lets clients in by [`auth`], hands them events and closes those who break the protocol; [`grants`] closes the
//!   connections of those whose token or session ends; [`origins`] keeps strange browsers out; [`proxies`] tells who is behind a proxy.
//! - [`gate`] bounds how many there may be, and who goes for whom.
//! - [`notifications`] is the injectable service, [`rules`] its decisions, [`http`] its routes.
//! - [`cluster`] is what several nodes over one Redis ask of each other; `local` answers.
//! - [`ops`] is what only those who run it need.
//! - [`idempotency`] is the memory for repeated requests, [`store`] where that is kept, and queues and sessions.
//! - [`model`] has the words that all of them share.

pub mod app;
pub mod auth;
pub mod cluster;
pub mod config;
mod counts;
pub mod dev;
#[cfg(test)]
mod fragments;
mod frame;
pub mod gate;
pub mod grants;
pub mod http;
pub mod idempotency;
mod interned;
mod json;
mod local;
mod locks;
pub mod logs;
pub mod model;
mod mutex;
pub mod notifications;
pub mod ops;
pub mod origins;
pub mod proxies;
pub mod rules;
pub mod run;
pub mod serve;
mod sharded;
pub mod socketio;
pub mod store;

pub use app::{App, Collaborators};
pub use config::Config;
pub use notifications::NotificationsService;
