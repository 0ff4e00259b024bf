//! The offline queue, as those see it who fill and drain it. Knows nothing of sockets.

use crate::store::{BoxFuture, StoreError};

/// An entry of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// What [`OfflineQueue::remove`] wants; means nothing to anybody else.
    pub id: EntryId,
    /// What was appended; anything at all where the store was damaged (QUEUE-15).
    pub payload: String,
}

/// Names an entry within its user's queue: a time and a counter, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64, pub u64);

/// One capped, ageing queue per user.
///
/// Reading does not remove: what was read is removed once it was handed over, so that a drain cannot lose what it has not
/// delivered (QUEUE-01, QUEUE-13).
pub trait OfflineQueue: Send + Sync + 'static {
    /// Appends payloads in their order, evicts the oldest above the cap (QUEUE-03, QUEUE-05) and what is too old
    /// (QUEUE-07), in one atomic step. What this has returned `Ok` for survives a `kill -9` (QUEUE-17).
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn append<'a>(&'a self, user_id: &'a str, payloads: &'a [&'a str]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Everything that is queued and not too old, oldest first (QUEUE-10).
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn read<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<Vec<Queued>, StoreError>>;

    /// Removes what was handed over, and nothing that came later.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn remove<'a>(&'a self, user_id: &'a str, ids: &'a [EntryId]) -> BoxFuture<'a, Result<(), StoreError>>;
}
