//! Users connect and leave at once, as fast as they are let in, or at a rate.

use std::time::Duration;

use crate::{connects, fault::Fault, ground::Ground, measured::Measured, settings::Settings};

/// As fast as 64 at a time are let in.
pub fn defaults() -> Settings {
    Settings { emitters: 64, ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    connects::run(ground, settings, "handshake", Duration::ZERO).await
}
