//! One user with N connections; every event goes to all of them.

use crate::{
    beside::Beside,
    fault::Fault,
    ground::Ground,
    measured::Measured,
    pick::Pick,
    receivers::{Device, Manner},
    settings::Settings,
    stream::{self, Shape},
};

/// A thousand connections. Few emitters: each event is a thousand deliveries.
pub fn defaults() -> Settings {
    Settings { users: 1, emitters: 2, ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let devices = vec![Device { user: 0, manner: Manner::Plain }; settings.connections];
    let shape = Shape {
        name: "fanout",
        devices,
        pick: Pick::in_turn(1),
        late: Vec::new(),
        users: 1,
        beside: Beside::default(),
    };
    stream::run(ground, settings, shape).await
}
