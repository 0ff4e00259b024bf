//! Connections come at a rate, stay for two seconds and leave: what coming and going costs, and whether memory comes back.

use std::time::Duration;

use super::handshake;
use crate::{fault::Fault, ground::Ground, measured::Measured, settings::Settings};

/// How long each stays.
pub const STAY: Duration = Duration::from_secs(2);

/// 200 connects a second: 400 connections at a time.
pub fn defaults() -> Settings {
    Settings { rate: Some(200.0), duration: Duration::from_secs(30), ..handshake::defaults() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    handshake::connects(ground, settings, "churn", STAY).await
}
