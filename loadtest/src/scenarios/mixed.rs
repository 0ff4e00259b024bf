//! Users as they are: a few get most of the events (Zipf), some have several devices, and one in ten is offline and connects at
//! the end for what was queued.

use rand::{RngExt, SeedableRng, rngs::StdRng};

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

/// Every so many users one is offline.
const OFFLINE_EVERY: u32 = 10;

/// A thousand connections of 700 users.
pub fn defaults() -> Settings {
    Settings { users: 700, ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    stream::run(ground, settings, shape(settings)).await
}

fn shape(settings: &Settings) -> Shape {
    let users = settings.users;
    let device = |user| Device { user, manner: Manner::Plain };
    let (offline, online): (Vec<_>, Vec<_>) =
        (0..users as u32).partition(|user| user % OFFLINE_EVERY == OFFLINE_EVERY - 1);
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut devices: Vec<_> = online.iter().map(|user| device(*user)).collect();
    while devices.len() < settings.connections {
        devices.push(device(online[random.random_range(0..online.len())]));
    }
    let late = offline.into_iter().map(device).collect();
    Shape { name: "mixed", devices, pick: Pick::zipf(users, settings.seed), late, users, beside: Beside::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_device_or_is_offline() {
        let settings = Settings { connections: 150, users: 100, ..Settings::default() };
        let shape = shape(&settings);
        assert_eq!((shape.devices.len(), shape.late.len()), (150, 10));
        let mut users: Vec<_> = shape.devices.iter().chain(&shape.late).map(|device| device.user).collect();
        users.sort_unstable();
        users.dedup();
        assert_eq!(users, (0..100).collect::<Vec<_>>());
    }
}
