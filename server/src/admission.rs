//! The moment between the verification of a user and the first live event: what was queued is handed over, in its order.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::runtime::Handle;

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
    payloads: Vec<Box<RawValue>>,
    ids: Vec<EntryId>,
    loss: Loss,
    /// Where handing over is delivering.
    drain: Option<Drain>,
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
        backlog: Backlog,
        drain: Option<Drain>,
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
        Self { room, payloads, ids, loss, drain, stay, turn }
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
        if let Some(drain) = self.drain {
            drain.complete(&self.ids).await;
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

/// A queue that was read to be handed over, and that nobody else is given meanwhile. Released when it is dropped.
pub(crate) struct Drain {
    queue: Arc<dyn OfflineQueue>,
    user_id: String,
    completed: bool,
}

impl Drain {
    pub(crate) fn new(queue: Arc<dyn OfflineQueue>, user_id: &str) -> Self {
        Self { queue, user_id: user_id.to_owned(), completed: false }
    }

    /// These were handed over.
    async fn complete(mut self, ids: &[EntryId]) {
        match self.queue.remove(&self.user_id, ids).await {
            Ok(()) => self.completed = true,
            Err(error) => {
                tracing::error!(%error, events = ids.len(), "delivered events could not be removed from a queue");
            }
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let (queue, user_id) = (self.queue.clone(), std::mem::take(&mut self.user_id));
        // Without a runtime there is no other node that waits for it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { queue.release(&user_id).await });
        }
    }
}

/// The payload as it was written, if it is one (QUEUE-15, QUEUE-16).
fn readable(payload: String) -> Option<Box<RawValue>> {
    serde_json::from_str::<Payload>(&payload).ok()?;
    RawValue::from_string(payload).ok()
}
