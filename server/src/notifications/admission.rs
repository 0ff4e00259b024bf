//! From the moment a verified user is let in until the queue was handed over: nothing else happens to the user
//! meanwhile, for the [`Admission`] holds the lock. Knows nothing of how a client is reached.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    drains::Drain,
    users::{User, UserGuard},
};
use crate::{
    cluster::Presence,
    counts::COUNTS,
    model::{Backlog, EntryId, Outgoing, Sent, may_have_more},
};

/// A user who is about to be connected.
pub struct Admission {
    payloads: Vec<Box<RawValue>>,
    ids: Vec<EntryId>,
    has_more: bool,
    loss: Loss,
    handing_over: HandingOver,
    presence: Option<Arc<Presence>>,
    lock: UserGuard,
}

/// What it means that a client is handed the queue.
pub(crate) enum HandingOver {
    /// It is delivered with that, and nobody else is given it.
    Delivers(Drain),
    /// Nothing: it is kept until somebody acknowledges it.
    Keeps,
    /// It is on its way to another device; where that one breaks, this one has it next (SLOW-08).
    IsOwed,
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
        lock: UserGuard,
        backlog: Backlog,
        handing_over: HandingOver,
        presence: Option<Arc<Presence>>,
    ) -> Self {
        let ids: Vec<EntryId> = backlog.entries.iter().map(|entry| entry.id).collect();
        let has_more = may_have_more(&backlog.entries);
        let before = presence.as_ref().map(|presence| presence.newest);
        lock.user.has_queued(ids.last().copied().into_iter().chain(before));
        let payloads: Vec<_> = backlog.entries.into_iter().filter_map(|entry| readable(entry.payload)).collect();
        let damaged = ids.len() - payloads.len();
        if damaged > 0 {
            tracing::error!(entries = damaged, "damaged entries of a queue are dropped");
        }
        let dropped = backlog.dropped + damaged as u64;
        let loss = Loss { complete: dropped == 0, dropped, counted: backlog.dropped };
        Self { payloads, ids, has_more, loss, handing_over, presence, lock }
    }

    /// The one room that the client joins (ROOM-01).
    #[must_use]
    pub fn room(&self) -> &str {
        &self.lock.user.room
    }

    /// Who it is.
    pub(crate) fn user(&self) -> &Arc<User> {
        &self.lock.user
    }

    /// The presence of the user on this node, where there are others: to be held for as long as the client is here.
    #[must_use]
    pub fn presence(&self) -> Option<Arc<Presence>> {
        self.presence.clone()
    }

    /// Up to which entry of the queue the client needs nothing more once it was handed this: what is not newer comes
    /// with it, or had been delivered to somebody else before; or the client is owed it.
    pub(crate) fn newest(&self) -> EntryId {
        let queued = self.ids.last().copied().unwrap_or_default();
        match &self.presence {
            Some(presence) if !self.has_more => presence.newest.max(queued),
            _ => queued,
        }
    }

    /// Whether the queue is on its way to another device.
    pub(crate) fn is_owed(&self) -> bool {
        matches!(self.handing_over, HandingOver::IsOwed)
    }

    /// Whether the queue may have more than is handed over with this, which the client is to be given once it has taken that.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Hands over what was queued to a plain client, by `send`, which says whether the client has taken it; then
    /// removes it from the queue. To be called when the client has joined its room. What the client has not taken stays
    /// queued. For doors that know at once what was taken; the server's own uses `hand_queue_until_sent`.
    pub async fn hand_queue(self, send: impl FnOnce(&[Box<RawValue>]) -> bool) {
        if self.ids.is_empty() || (!self.payloads.is_empty() && !send(&self.payloads)) {
            return;
        }
        if let HandingOver::Delivers(drain) = self.handing_over {
            drain.complete().await;
        }
        drop(self.lock);
    }

    /// The same where it takes a while until the client has taken it. `send` is given what is to be called then, if
    /// anything is; where that is dropped without having been called, the queue is free for somebody else.
    pub(crate) fn hand_queue_until_sent(self, send: impl FnOnce(&[Box<RawValue>], Option<Sent>)) {
        if self.ids.is_empty() {
            return;
        }
        COUNTS.from_queue[0].add(self.payloads.len() as u64);
        let sent = match self.handing_over {
            HandingOver::Delivers(drain) => Some(drain.when_sent()),
            HandingOver::Keeps | HandingOver::IsOwed => None,
        };
        match (self.payloads.is_empty(), sent) {
            // All of it was damaged.
            (true, Some(sent)) => sent(),
            (true, None) => {}
            (false, sent) => send(&self.payloads, sent),
        }
        drop(self.lock);
    }

    /// Hands over what was queued, and what was lost, to a client that acknowledges. Nothing is removed before it does.
    pub fn hand_kept_queue(self, send: impl FnOnce(&[Box<RawValue>], Vec<EntryId>, Loss)) {
        if !self.ids.is_empty() || !self.loss.complete {
            COUNTS.from_queue[1].add(self.payloads.len() as u64);
            send(&self.payloads, self.ids, self.loss);
        }
        drop(self.lock);
    }
}

/// The payload as it was written, if it is one (QUEUE-15, QUEUE-16).
fn readable(payload: String) -> Option<Box<RawValue>> {
    Outgoing::is_payload(&payload).then(|| RawValue::from_string(payload).ok()).flatten()
}
