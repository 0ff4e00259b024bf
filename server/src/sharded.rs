//! A map in many parts, so that a look at one key hardly ever waits for another. Knows nothing of what it holds.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, MutexGuard},
};

use crate::mutex::Mutex;

/// Into how many parts the keys are divided.
const SHARDS: usize = 64;

/// One part.
pub(crate) type Shard<'a, V> = MutexGuard<'a, HashMap<Arc<str>, V>>;

pub(crate) struct Sharded<V> {
    shards: Vec<Mutex<HashMap<Arc<str>, V>>>,
    // Randomly keyed, so that nobody outside can choose ids that share a shard.
    hasher: RandomState,
}

impl<V> Sharded<V> {
    /// The part where a key has its place.
    pub(crate) fn shard(&self, key: &str) -> Shard<'_, V> {
        self.shards[self.hasher.hash_one(key) as usize % SHARDS].lock()
    }

    /// All parts, of which each is locked when it is reached.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard<'_, V>> {
        self.shards.iter().map(Mutex::lock)
    }
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}
