//! The moment between the verification of a user and the first live event: what was queued is handed over, in its order.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    cluster::Stay,
    event::Payload,
    queue::{Backlog, EntryId, OfflineQueue},
    turns::Turn,
};

/// A user who is about to be connected.
pub struct Admission {
    /// The one room that the client joins (ROOM-01).
    pub room: String,
    user_id: String,
    payloads: Vec<Box<RawValue>>,
    ids: Vec<EntryId>,
    loss: Loss,
    /// Where handing over is delivering.
    removes: Option<Arc<dyn OfflineQueue>>,
    stay: Option<Arc<Stay>>,
    turn: Turn,
}

/// What the client of a user has missed for good; goes with `queued.events` to those who acknowledge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Whether that is nothing.
    pub complete: bool,
    /// How many events.
    pub dropped: u64,
    /// How many of them the store has counted, and does not any more once they were told.
    #[serde(skip)]
    pub counted: u64,
}

impl Admission {
    pub(crate) fn new(
        room: String,
        user_id: &str,
        backlog: Backlog,
        removes: Option<Arc<dyn OfflineQueue>>,
        stay: Option<Arc<Stay>>,
        turn: Turn,
    ) -> Self {
        let ids: Vec<EntryId> = backlog.entries.iter().map(|entry| entry.id).collect();
        let payloads: Vec<_> = backlog.entries.into_iter().filter_map(|entry| readable(entry.payload)).collect();
        let damaged = ids.len() - payloads.len();
        if damaged > 0 {
            tracing::error!(entries = damaged, "damaged entries of a queue are dropped");
        }
        let dropped = backlog.dropped + damaged as u64;
        let loss = Loss { complete: dropped == 0, dropped, counted: backlog.dropped };
        Self { room, user_id: user_id.to_owned(), payloads, ids, loss, removes, stay, turn }
    }

    /// The presence of the user on this node, where there are others: to be held for as long as the client is here.
    #[must_use]
    pub fn stay(&self) -> Option<Arc<Stay>> {
        self.stay.clone()
    }

    /// The newest entry of the queue that the client will have been given, or need not be.
    pub(crate) fn newest(&self) -> EntryId {
        let queued = self.ids.last().copied().unwrap_or_default();
        self.stay.as_ref().map_or(queued, |stay| stay.newest.max(queued))
    }

    /// Hands over what was queued to a client that acknowledges nothing, by `send`, which says whether the client has taken
    /// it; then removes it from the queue. To be called when the client has joined its room. What the client has not taken
    /// stays queued.
    pub async fn welcome(self, send: impl FnOnce(&[Box<RawValue>]) -> bool) {
        self.welcome_waiting(async |payloads| send(payloads)).await;
    }

    /// The same where it takes a while to know whether the client has taken it.
    pub async fn welcome_waiting(self, send: impl AsyncFnOnce(&[Box<RawValue>]) -> bool) {
        if self.ids.is_empty() || (!self.payloads.is_empty() && !send(&self.payloads).await) {
            return;
        }
        if let Some(queue) = self.removes
            && let Err(error) = queue.remove(&self.user_id, &self.ids).await
        {
            tracing::error!(%error, events = self.ids.len(), "delivered events could not be removed from a queue");
        }
        drop(self.turn);
    }

    /// Hands over what was queued, and what was lost, to a client that acknowledges. Nothing is removed before it does.
    pub fn welcome_kept(self, send: impl FnOnce(&[Box<RawValue>], Vec<EntryId>, Loss)) {
        if !self.ids.is_empty() || !self.loss.complete {
            send(&self.payloads, self.ids, self.loss);
        }
        drop(self.turn);
    }
}

/// The payload as it was written, if it is one (QUEUE-15, QUEUE-16).
fn readable(payload: String) -> Option<Box<RawValue>> {
    serde_json::from_str::<Payload>(&payload).ok()?;
    RawValue::from_string(payload).ok()
}
