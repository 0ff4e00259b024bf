//! The moment between the verification of a user and the first live event: what was queued is handed over, in its order.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    event::Payload,
    queue::{EntryId, OfflineQueue, Queued},
    turns::Turn,
};

/// A user who is about to be connected.
pub struct Admission {
    /// The one room that the client joins (ROOM-01).
    pub room: String,
    user_id: String,
    queued: Vec<Queued>,
    queue: Arc<dyn OfflineQueue>,
    turn: Turn,
}

impl Admission {
    pub(crate) fn new(
        room: String,
        user_id: &str,
        queued: Vec<Queued>,
        queue: Arc<dyn OfflineQueue>,
        turn: Turn,
    ) -> Self {
        Self { room, user_id: user_id.to_owned(), queued, queue, turn }
    }

    /// Hands over what was queued, by `send`, which says whether the client has taken it; then removes it from the queue.
    /// To be called when the client has joined its room. What the client has not taken stays queued.
    pub async fn welcome(self, send: impl FnOnce(&[Box<RawValue>]) -> bool) {
        let ids: Vec<EntryId> = self.queued.iter().map(|entry| entry.id).collect();
        let total = ids.len();
        let payloads: Vec<_> = self.queued.into_iter().filter_map(readable).collect();
        if payloads.len() < total {
            tracing::error!(entries = total - payloads.len(), "damaged entries of a queue are dropped");
        }
        if total == 0 || (!payloads.is_empty() && !send(&payloads)) {
            return;
        }
        if let Err(error) = self.queue.remove(&self.user_id, &ids).await {
            tracing::error!(%error, events = total, "delivered events could not be removed from a queue");
        }
        drop(self.turn);
    }
}

/// The payload as it was written, if it is one (QUEUE-15, QUEUE-16).
fn readable(entry: Queued) -> Option<Box<RawValue>> {
    serde_json::from_str::<Payload>(&entry.payload).ok()?;
    RawValue::from_string(entry.payload).ok()
}
