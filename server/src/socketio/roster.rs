//! Which devices are here, by room: each from when it has its queue until what it was not sent is queued. The library may have
//! forgotten its socket before that, so the library's rooms would not do. Knows nothing of what devices are handed.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::device::Device;

/// Into how many parts the rooms are divided, so that a look at one hardly ever waits for another.
const SHARDS: usize = 64;

/// Those of a room; a list that is replaced and never changed, so that it can be gone through without a lock.
type Devices = Arc<[Arc<Device>]>;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Roster(Arc<Shards>);

struct Shards {
    rooms: Vec<Mutex<HashMap<String, Devices>>>,
    // Randomly keyed, so that nobody outside can choose ids that share a shard.
    hasher: RandomState,
}

impl Roster {
    pub(crate) fn new() -> Self {
        let rooms = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self(Arc::new(Shards { rooms, hasher: RandomState::new() }))
    }

    pub(crate) fn enter(&self, room: &str, device: Arc<Device>) {
        let mut rooms = self.shard(room);
        let devices = rooms.entry(room.to_owned()).or_default();
        *devices = devices.iter().cloned().chain([device]).collect();
    }

    /// Does nothing where the device has left before.
    pub(crate) fn leave(&self, room: &str, device: &Arc<Device>) {
        let mut rooms = self.shard(room);
        let Some(devices) = rooms.get_mut(room) else { return };
        *devices = devices.iter().filter(|other| !Arc::ptr_eq(other, device)).cloned().collect();
        if devices.is_empty() {
            rooms.remove(room);
        }
    }

    /// The devices of a room, those that are going included.
    pub(crate) fn of(&self, room: &str) -> Devices {
        self.shard(room).get(room).cloned().unwrap_or_default()
    }

    /// All devices.
    pub(crate) fn all(&self) -> Vec<Arc<Device>> {
        let lists = self.0.rooms.iter().flat_map(|rooms| lock(rooms).values().cloned().collect::<Vec<_>>());
        lists.flat_map(|devices| devices.to_vec()).collect()
    }

    fn shard(&self, room: &str) -> MutexGuard<'_, HashMap<String, Devices>> {
        lock(&self.0.rooms[self.0.hasher.hash_one(room) as usize % SHARDS])
    }
}

fn lock(rooms: &Mutex<HashMap<String, Devices>>) -> MutexGuard<'_, HashMap<String, Devices>> {
    // Every change is a single call, so a panic elsewhere cannot have left it half done.
    rooms.lock().unwrap_or_else(PoisonError::into_inner)
}
