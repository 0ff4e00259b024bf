//! What needs no waiting, which is nearly everything: an event for somebody who is here and whose turn is free. Without it
//! each event would cost a task, and a place for all that it might have to wait for.

use super::{Delivery, EmitError, Inner, NotificationsService, Outgoing, Receipt, receipt};
use crate::{cluster::Standing, event::Draft};

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
    pub(crate) fn emit_at_once(&self, draft: Draft) -> Emission {
        let (recipient, event) = self.prepare(draft);
        let events = [(0, event)];
        let handed = self.0.hand_at_once(&recipient, &events);
        let [(_, event)] = events;
        match handed {
            0 => Emission::Waits(Prepared { recipient, event }),
            _ => Emission::Done(receipt(&event, Delivery::Live)),
        }
    }

    /// Emits an event, whatever it takes.
    pub(crate) async fn emit_prepared(&self, Prepared { recipient, event }: Prepared) -> Result<Receipt, EmitError> {
        let mut outcomes = self.hand_over(&recipient, vec![(0, event)]).await;
        let (_, outcome) = outcomes.pop().expect("there is one outcome for one event");
        Ok(outcome?)
    }
}

impl Inner {
    /// Hands over events from the first on, for as long as that needs no waiting: nothing else happens to the recipient, whose
    /// clients are all here, acknowledge nothing and have room. How many those were.
    pub(super) fn hand_at_once(&self, recipient: &str, events: &[(usize, Outgoing)]) -> usize {
        let Some(_turn) = self.turns.try_take(recipient) else { return 0 };
        let all_here = self.peers.as_ref().is_none_or(|peers| peers.standing(recipient) == Standing::Alone);
        let room = self.rules.room(recipient);
        if !all_here || self.deliver.acknowledged(&room) {
            return 0;
        }
        events.iter().take_while(|(_, event)| self.deliver.deliver_at_once(&room, event)).count()
    }
}
