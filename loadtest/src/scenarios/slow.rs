//! As `unicast`, and one in ten never reads. The others must get everything in time, and the server's memory must stay bounded.

use super::unicast;
use crate::{fault::Fault, ground::Ground, measured::Measured, receivers::Manner, settings::Settings, stream};

/// Every so many receivers one never reads.
const STALLED_EVERY: usize = 10;

/// Open loop, so that a delay of the others shows.
pub fn defaults() -> Settings {
    Settings { rate: Some(2_000.0), ..unicast::defaults() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let mut shape = unicast::shape("slow", settings.connections, Manner::Plain);
    let mut stalled = 0;
    for device in shape.devices.iter_mut().skip(STALLED_EVERY - 1).step_by(STALLED_EVERY) {
        device.manner = Manner::Stalled;
        stalled += 1;
    }
    let mut measured = stream::run(ground, settings, shape).await?;
    measured.notes.push(("stalled receivers".to_owned(), format!("{stalled} of {}", settings.connections)));
    Ok(measured)
}
