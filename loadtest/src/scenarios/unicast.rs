//! N users with one connection each; every event goes to one of them, in turn.

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

/// A thousand users.
pub fn defaults() -> Settings {
    Settings::default()
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    stream::run(ground, settings, shape("unicast", settings.connections, Manner::Plain)).await
}

/// One receiver for each user.
pub fn shape(name: &'static str, users: usize, manner: Manner) -> Shape {
    let devices = (0..users as u32).map(|user| Device { user, manner }).collect();
    Shape { name, devices, pick: Pick::in_turn(users), late: Vec::new(), users, beside: Beside::default() }
}
