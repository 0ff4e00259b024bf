//! The reference server of real-time notifications: who may connect, what reaches them, and what waits for them.
//!
//! The rules are the numbered sentences of `conformance/SPEC.md`; comments name them by their ids.
//!
//! - [`app`] puts the parts together, [`serve`] runs them, [`config`] reads the settings, [`dev`] makes some up.
//! - `socket` lets clients in by [`auth`], [`session`] and [`admission`]; `device` and `sockets` hand them events, `roster` knows who is here, `keeper`
//!   waits for what they acknowledge; [`rights`] closes the connections of those whose token or session ends, `wire` the connections of those who break the protocol; [`origins`] keeps
//!   strange browsers out.
//! - [`notifications`] is the injectable service, [`rules`] its decisions, [`event`] its payload, [`http`] its routes.
//! - [`cluster`] is what several nodes over one Redis ask of each other; `local` answers.
//! - [`queue`] is the offline queue, [`idempotency`] the memory for repeated requests, [`store`] where both are kept.

pub mod admission;
pub mod app;
pub mod auth;
pub mod cluster;
pub mod config;
pub mod dev;
mod device;
pub mod event;
pub mod http;
pub mod idempotency;
mod keeper;
mod listen;
mod local;
pub mod notifications;
pub mod origins;
pub mod queue;
pub mod rights;
mod roster;
pub mod rules;
pub mod run;
pub mod serve;
pub mod session;
mod socket;
mod sockets;
pub mod store;
mod turns;
mod wire;

pub use app::{App, Collaborators};
pub use config::Config;
pub use notifications::NotificationsService;
