//! Which devices are here, by room: each from when it has its queue until what it was not sent is queued. The library may have
//! forgotten its socket before that, so the library's rooms would not do. What they are handed is said in `sockets`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{acks::Acknowledging, device::Device};
use crate::{interned::Interned, mutex::Mutex, notifications::Rooms};

/// Those of a room; a list that is replaced and never changed, so that it can be gone through without a lock.
type Devices = Arc<[Arc<Device>]>;

/// All rooms that somebody has hold of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Roster(Arc<Inner>);

struct Inner {
    rooms: Interned<Room>,
    acknowledging: Acknowledging,
    /// The least number that was not given yet to what is handed over, so that it can be put in order again.
    next_number: AtomicU64,
}

/// One of them.
pub(crate) struct Room {
    name: Arc<str>,
    devices: Mutex<Devices>,
    roster: Roster,
}

impl Roster {
    pub(crate) fn new(acknowledging: Acknowledging) -> Self {
        Self(Arc::new(Inner { rooms: Interned::default(), acknowledging, next_number: AtomicU64::new(0) }))
    }

    /// The one room of this name.
    pub(crate) fn room(&self, name: &str) -> Arc<Room> {
        self.0.rooms.get(name, |name| Room { name, devices: Mutex::default(), roster: self.clone() })
    }

    /// The rooms, for the service.
    pub(crate) fn rooms(&self) -> Rooms {
        let roster = self.clone();
        Box::new(move |name| roster.room(name))
    }

    /// All devices.
    pub(crate) fn all(&self) -> Vec<Arc<Device>> {
        self.0.rooms.all().flat_map(|room| room.devices().to_vec()).collect()
    }
}

impl Room {
    pub(crate) fn enter(&self, device: Arc<Device>) {
        let mut devices = self.devices.lock();
        *devices = devices.iter().cloned().chain([device]).collect();
    }

    /// Does nothing where the device has left before.
    pub(crate) fn leave(&self, device: &Arc<Device>) {
        let mut devices = self.devices.lock();
        *devices = devices.iter().filter(|other| !Arc::ptr_eq(other, device)).cloned().collect();
    }

    /// Who is here, those that are going included.
    pub(crate) fn devices(&self) -> Devices {
        self.devices.lock().clone()
    }

    /// Whether some device, of whatever room, acknowledges.
    pub(super) fn somebody_acknowledges(&self) -> bool {
        self.roster.0.acknowledging.any()
    }

    /// A number that is at least this one, and greater than any before.
    pub(super) fn number_from(&self, least: u64) -> u64 {
        let next = &self.roster.0.next_number;
        next.fetch_max(least, Ordering::Relaxed);
        next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.roster.0.rooms.forget(&self.name, self);
    }
}
