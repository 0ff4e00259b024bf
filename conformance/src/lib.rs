//! A black-box conformance suite for real-time notification servers.
//!
//! `runner → cases → expect, client`, and `runner → event ← report`: the suite knows a server under test only by its
//! target file and by what travels over the network.

pub mod client;
pub mod expect;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod spec;
pub mod target;
pub mod template;
pub mod transcript;
