//! The fast path: an event that can be handed over without waiting for anything, which is nearly every one. Without it
//! each event would cost a task, and memory for all that it might have to wait for. Every other event goes by
//! `hand_over` in `notifications.rs`.

use super::{Delivery, EmitError, Haste, Inner, NotificationsService, Outgoing, Receipt, receipt};
use crate::{cluster::Destination, model::Draft};

/// What became of an event at once.
pub(crate) enum Emission {
    /// It was handed over.
    Done(Receipt),
    /// It takes [`NotificationsService::emit_prepared`].
    Waits(Prepared),
}

/// An event that has its id, and was handed to nobody yet.
pub(crate) struct Prepared {
    recipient: String,
    event: Outgoing,
}

impl NotificationsService {
    /// Emits an event where that needs no waiting.
    pub(crate) fn try_emit(&self, draft: Draft, haste: Haste) -> Emission {
        let (recipient, event) = self.prepare(draft);
        match self.0.try_fast_path(&recipient, &event, haste) {
            true => Emission::Done(receipt(&event, Delivery::Live)),
            false => Emission::Waits(Prepared { recipient, event }),
        }
    }

    /// Emits an event, whatever it takes.
    pub(crate) async fn emit_prepared(&self, Prepared { recipient, event }: Prepared) -> Result<Receipt, EmitError> {
        let outcome = self.hand_over(&recipient, &[event]).await.pop();
        outcome.expect("there is one outcome for one event")
    }
}

impl Inner {
    /// Hands over an event where that needs no waiting: nothing else happens to the recipient just now, whose clients are all
    /// here, acknowledge nothing and have room.
    pub(super) fn try_fast_path(&self, recipient: &str, event: &Outgoing, haste: Haste) -> bool {
        let Some(lock) = self.users.get(recipient).try_lock() else { return false };
        let clients = &lock.user.clients;
        let all_here = self.peers.as_ref().is_none_or(|peers| peers.destination(recipient) == Destination::Here);
        all_here && !clients.acknowledged() && clients.deliver(event, haste)
    }
}
