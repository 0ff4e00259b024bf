//! The offline queue, as those see it who fill and drain it. Knows nothing of sockets.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;

/// An entry of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// What [`Queue::remove`] wants; means nothing to anybody else.
    pub id: EntryId,
    /// What was appended; anything at all where the store was damaged (QUEUE-15).
    pub payload: String,
}

/// Names an entry within its user's queue: a time and a counter, in the order of arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64, pub u64);

/// An event that was accepted, and handed to a client that nobody has seen it sent to: it goes back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reinserted<'a> {
    /// The payload.
    pub payload: &'a str,
    /// The newest entry of the queue when it was handed over: whatever is newer was accepted later.
    pub after: EntryId,
    /// Its place among those that came after the same entry: greater than that of any that was handed over earlier. In
    /// microseconds of the Unix epoch, so that it grows from one process to the next.
    pub number: u64,
}

/// What waits for a user whose clients acknowledge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Oldest first.
    pub entries: Vec<Queued>,
    /// How many events the cap, their age or damage has cost the user since that was last told and acknowledged.
    pub dropped: u64,
}

/// One capped, ageing queue per user.
///
/// Reading does not remove: what was read is removed once it was handed over, so that a drain cannot lose what it has not
/// delivered (QUEUE-01, QUEUE-13). Where a client acknowledges, an entry stays until [`Queue::confirm`], and what was lost is counted.
///
/// Each method is one atomic step, so that entries can be confirmed on another node than the one that has sent them.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Appends payloads in their order, evicts the oldest above the cap (QUEUE-03, QUEUE-05) and what is too old
    /// (QUEUE-07). What this has returned `Ok` for survives a `kill -9` (QUEUE-17). Returns a name for each
    /// payload.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError>;

    /// Appends as [`Queue::append`] does, for a user who is here and acknowledges: the cap does not evict what is just
    /// being sent, only [`KEPT_AT_MOST`] does. Returns a name for each payload.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError>;

    /// Puts events back, each before whatever is newer than the entry that it came after, and before whatever came after the
    /// same entry and has a greater number (ORDER-01, CLUSTER-05).
    /// The cap does not evict them, only [`KEPT_AT_MOST`] does: their emitters were told that they are delivered (SLOW-10).
    /// Where it is done twice, for want of an answer, the second time changes nothing.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError>;

    /// What is queued and not too old, oldest first (QUEUE-10), up to [`AT_A_TIME_BYTES`].
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError>;

    /// The same for a client that is about to be handed it: nobody else is given it, on whatever node, until it was
    /// [removed](Queue::remove) or [released](Queue::release) under this name, or not
    /// [renewed](Queue::renew_drain) for some seconds, for a node may die meanwhile (QUEUE-13, CLUSTER-03). `None` where
    /// somebody else is.
    ///
    /// A store that only one node uses has nobody else.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn drain(&self, user_id: &str, _drain: Uuid) -> Result<Option<Vec<Queued>>, StoreError> {
        self.read(user_id).await.map(Some)
    }

    /// It is still on its way to the client.
    async fn renew_drain(&self, _user_id: &str, _drain: Uuid) {}

    /// Lets others drain what was not handed over after all.
    async fn release(&self, _user_id: &str, _drain: Uuid) {}

    /// Removes what was handed over, and nothing that came later; with it ends the drain, where it was one.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn remove(&self, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError>;

    /// What is queued behind an entry and not too old, up to [`AT_A_TIME_BYTES`], and what was lost. With `trim`, where nobody else of
    /// the user acknowledges, the queue is cut to its cap first.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError>;

    /// Removes what was acknowledged, and takes `told` from the count of what was lost.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError>;

    /// What the store has answered lately, and nothing before its first answer, for `/readyz` (CONF-08, CONF-09). However many ask, the
    /// store is not asked more often.
    ///
    /// # Errors
    /// Where it does not answer.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// How much of a queue is read, and handed over in one packet, at a time: so many bytes of payloads, and the entry with which they are
/// reached. More than any queue of the usual cap has (QUEUE-09, EMIT-11).
pub const AT_A_TIME_BYTES: usize = 4 << 20;

/// Whether there may be more behind what was read at a time.
#[must_use]
pub fn may_have_more(read: &[Queued]) -> bool {
    read.iter().map(|entry| entry.payload.len()).sum::<usize>() >= AT_A_TIME_BYTES
}

/// How many events of a user are kept while they are being acknowledged: more than one client is ever sent ahead of its
/// acknowledgements, and a batch.
pub const KEPT_AT_MOST: usize = 4_096;
