//! One turn at a time for each key: what happens to a user's queue and sockets happens in one order.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// How many keys can be busy without ever waiting for a stranger.
const SHARDS: usize = 4096;

/// A fixed set of locks, each shared by the keys that hash to it. Nobody holds two, so nobody waits in a circle.
#[derive(Clone)]
pub(crate) struct Turns {
    shards: Arc<[Arc<Mutex<()>>]>,
    // Randomly keyed, so that nobody outside can choose ids that share a lock.
    hasher: RandomState,
}

/// Ends when it is dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Turns {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }

    /// Waits for the turn of a key.
    pub(crate) async fn take(&self, key: &str) -> Turn {
        let hash = self.hasher.hash_one(key) as usize;
        self.shards[hash % SHARDS].clone().lock_owned().await
    }
}
