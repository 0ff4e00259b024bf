//! Users connect at a rate, stay, and leave: so many are connected at a time, and none for long.

use std::time::Duration;

use crate::{connects, fault::Fault, ground::Ground, measured::Measured, settings::Settings};

/// The rate where none is asked for.
const RATE: f64 = 200.0;

/// A thousand connections, 200 of which change each second. Measured once as many leave as come.
pub fn defaults() -> Settings {
    Settings { rate: Some(RATE), emitters: 64, warmup: Duration::from_secs(6), ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let stay = Duration::from_secs_f64(settings.connections as f64 / settings.rate.unwrap_or(RATE));
    let mut measured = connects::run(ground, settings, "churn", stay).await?;
    measured.notes.push(("stay".to_owned(), format!("{:.1} s each", stay.as_secs_f64())));
    Ok(measured)
}
