//! Locks by key: by user, for what the store is told of presence; and by idempotency key. The user lock stands in
//! `notifications/users.rs`.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::sharded::Sharded;

/// A lock for each key; strangers never wait for each other. Nobody holds two of one set, so nobody waits in a circle.
/// A key that nobody holds or waits for takes no place.
#[derive(Clone, Default)]
pub(crate) struct KeyedLocks(Arc<Sharded<Arc<Mutex<()>>>>);

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
    /// Waits for the lock of a key.
    pub(crate) async fn lock(&self, key: &str) -> KeyedGuard {
        let place = Place { locks: self.clone(), key: key.into() };
        let lock = self.0.shard(key).entry(place.key.clone()).or_default().clone();
        KeyedGuard { _held: lock.lock_owned().await, _place: place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut keys = self.locks.0.shard(&self.key);
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
        let locks = KeyedLocks::default();
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
        assert!(locks.0.shards().all(|keys| keys.is_empty()));
    }
}
