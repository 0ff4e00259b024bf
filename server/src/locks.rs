//! Locks by key: by user, for what the store is told of presence; and by idempotency key. The user lock stands in
//! `notifications/users.rs`.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

/// Into how many parts the keys are divided, so that a look at one hardly ever waits for another.
const SHARDS: usize = 64;

/// The keys that are busy. One that nobody holds or waits for takes no place.
type Keys = HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>;

/// A lock for each key; strangers never wait for each other. Nobody holds two of one set, so nobody waits in a circle.
#[derive(Clone)]
pub(crate) struct KeyedLocks(Arc<Shards>);

struct Shards {
    keys: Vec<Mutex<Keys>>,
    // Randomly keyed, so that nobody outside can choose ids that share a shard.
    hasher: RandomState,
}

/// A lock that is held; let go when dropped. The lock goes before the place, in the order of the fields.
pub(crate) struct KeyedGuard {
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// Somebody who holds a lock or waits for it, and may give up.
struct Place {
    locks: KeyedLocks,
    key: Arc<str>,
}

impl KeyedLocks {
    pub(crate) fn new() -> Self {
        let keys = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self(Arc::new(Shards { keys, hasher: RandomState::new() }))
    }

    /// Waits for the lock of a key.
    pub(crate) async fn lock(&self, key: &str) -> KeyedGuard {
        let place = Place { locks: self.clone(), key: key.into() };
        let lock = self.shard(key).entry(place.key.clone()).or_default().clone();
        KeyedGuard { _held: lock.lock_owned().await, _place: place }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Keys> {
        let hash = self.0.hasher.hash_one(key) as usize;
        // Every change is a single call, so a panic elsewhere cannot have left it half done.
        self.0.keys[hash % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut keys = self.locks.shard(&self.key);
        // Whoever else holds or waits has a share of the lock.
        if keys.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_lock_is_waited_for_by_its_own_key_alone_and_leaves_nothing_behind() {
        let locks = KeyedLocks::new();
        let first = locks.lock("a").await;
        assert!(locks.lock("b").now_or_never().is_some());
        assert!(locks.lock("a").now_or_never().is_none());
        let waiting = tokio::spawn({
            let locks = locks.clone();
            async move { drop(locks.lock("a").await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
        assert!(locks.0.keys.iter().all(|keys| keys.lock().unwrap().is_empty()));
    }
}
