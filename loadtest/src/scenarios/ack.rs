//! As `unicast`, and every receiver acknowledges: each event is stored before it is sent, and removed by the acknowledgement.

use super::unicast;
use crate::{fault::Fault, ground::Ground, measured::Measured, receivers::Manner, settings::Settings, stream};

/// As `unicast`.
pub fn defaults() -> Settings {
    unicast::defaults()
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out, or the target does not declare `ack`.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    if !ground.target.declares("ack") {
        return Err(Fault::Nothing(format!("{} does not declare ack", ground.target.name)));
    }
    stream::run(ground, settings, unicast::shape("ack", settings.connections, Manner::Acknowledging)).await
}
