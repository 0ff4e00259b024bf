//! Which devices are here, by room: each from when it has its queue until what it was not sent is queued. The library may have
//! forgotten its socket before that, so the library's rooms would not do. Knows nothing of what devices are handed.

use std::sync::Arc;

use super::device::Device;
use crate::sharded::Sharded;

/// Those of a room; a list that is replaced and never changed, so that it can be gone through without a lock.
type Devices = Arc<[Arc<Device>]>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Roster(Arc<Sharded<Devices>>);

impl Roster {
    pub(crate) fn enter(&self, room: &str, device: Arc<Device>) {
        let mut rooms = self.0.shard(room);
        let devices = rooms.entry(room.into()).or_default();
        *devices = devices.iter().cloned().chain([device]).collect();
    }

    /// Does nothing where the device has left before.
    pub(crate) fn leave(&self, room: &str, device: &Arc<Device>) {
        let mut rooms = self.0.shard(room);
        let Some(devices) = rooms.get_mut(room) else { return };
        *devices = devices.iter().filter(|other| !Arc::ptr_eq(other, device)).cloned().collect();
        if devices.is_empty() {
            rooms.remove(room);
        }
    }

    /// The devices of a room, those that are going included.
    pub(crate) fn of(&self, room: &str) -> Devices {
        self.0.shard(room).get(room).cloned().unwrap_or_default()
    }

    /// All devices.
    pub(crate) fn all(&self) -> Vec<Arc<Device>> {
        let lists = self.0.shards().flat_map(|rooms| rooms.values().cloned().collect::<Vec<_>>());
        lists.flat_map(|devices| devices.to_vec()).collect()
    }
}
