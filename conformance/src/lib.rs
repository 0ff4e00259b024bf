//! A black-box conformance suite for real-time notification servers.
//!
//! `runner → cases → bench, expect, client`, and `runner → event ← report`: the suite knows a server under test only by
//! its target file and by what travels over the network.

pub mod baseline;
pub mod bench;
pub mod canary;
pub mod case;
pub mod cases;
pub mod churn;
pub mod cli;
pub mod client;
pub mod compare;
pub mod event;
pub mod exit;
pub mod expect;
pub mod fixtures;
pub mod flake;
pub mod ground;
pub mod hook;
pub mod instance;
pub mod netns;
pub mod ports;
pub mod process;
pub mod proxies;
pub mod proxy;
pub mod ready;
pub mod redact;
pub mod redis;
pub mod report;
pub mod runner;
pub mod select;
pub mod selftest;
pub mod site;
pub mod spec;
pub mod target;
pub mod template;
pub mod text;
pub mod tls;
pub mod token;
pub mod transcript;
