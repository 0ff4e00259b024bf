//! What a connection was handed and its transport has not taken yet, in order. Knows nothing of sockets or stores.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use crate::{
    event::{Outgoing, Sent},
    queue::EntryId,
};

/// An event on its way to one or several clients that acknowledge nothing.
pub(crate) struct Shared {
    pub(crate) event: Outgoing,
    /// Its place among all that was handed over.
    pub(crate) order: u64,
    /// The newest entry of the queue that those who are handed it had been given before.
    pub(crate) after: EntryId,
    /// How many connections still have it to send.
    holders: AtomicUsize,
    sent: AtomicBool,
}

impl Shared {
    pub(crate) fn new(event: Outgoing, order: u64, after: EntryId) -> Arc<Self> {
        Arc::new(Self { event, order, after, holders: AtomicUsize::new(0), sent: AtomicBool::new(false) })
    }

    /// Lets go of it; true where nobody has sent it and nobody else will.
    fn release(&self, sent: bool) -> bool {
        if sent {
            self.sent.store(true, Ordering::SeqCst);
        }
        self.holders.fetch_sub(1, Ordering::SeqCst) == 1 && !self.sent.load(Ordering::SeqCst)
    }
}

/// An event of Socket.IO that a connection was handed.
pub(crate) enum Handed {
    /// One that is lost with the connection unless somebody takes care of it.
    Event(Arc<Shared>),
    /// One that is in the store until it is acknowledged.
    Kept,
    /// One that is in the store until a transport has taken it; whoever removes it is told.
    Stored(Sent),
    /// A queue that is removed from the store once it was sent.
    Queue(oneshot::Sender<()>),
}

/// In the order in which they were handed over.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(Handed, usize)>,
    bytes: usize,
}

impl Outbox {
    /// How many events are waiting.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes are waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes an event, before it is handed to the connection: it may have left before the call returns.
    pub(crate) fn push(&mut self, handed: Handed, bytes: usize) {
        if let Handed::Event(shared) = &handed {
            shared.holders.fetch_add(1, Ordering::SeqCst);
        }
        self.bytes += bytes;
        self.waiting.push_back((handed, bytes));
    }

    /// Takes back the last one, which the connection did not take.
    pub(crate) fn retract(&mut self) {
        if let Some((handed, bytes)) = self.waiting.pop_back() {
            self.bytes -= bytes;
            if let Handed::Event(shared) = handed {
                shared.holders.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Notes that the transport has taken the next so many.
    pub(super) fn sent(&mut self, events: usize) {
        for (handed, bytes) in self.waiting.drain(..events.min(self.waiting.len())) {
            self.bytes -= bytes;
            match handed {
                Handed::Event(shared) => drop(shared.release(true)),
                Handed::Queue(sent) => drop(sent.send(())),
                Handed::Stored(sent) => sent(),
                Handed::Kept => {}
            }
        }
    }

    /// Empties it, and returns the events that nobody has sent and nobody else will.
    pub(super) fn take_unsent(&mut self) -> Vec<Arc<Shared>> {
        self.bytes = 0;
        let events = self.waiting.drain(..).filter_map(|(handed, _)| match handed {
            Handed::Event(shared) => shared.release(false).then_some(shared),
            Handed::Kept | Handed::Stored(_) | Handed::Queue(_) => None,
        });
        events.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, EventType, Payload};

    fn shared() -> Arc<Shared> {
        let draft = Draft {
            event_type: EventType::RecordAccessed,
            actor_id: "a".into(),
            resource_id: "r".into(),
            metadata: serde_json::Map::new(),
        };
        Shared::new(Payload::now(draft).into(), 0, EntryId::default())
    }

    fn holding(events: &[&Arc<Shared>]) -> Outbox {
        let mut outbox = Outbox::default();
        for event in events {
            outbox.push(Handed::Event((*event).clone()), 10);
        }
        outbox
    }

    #[test]
    fn what_was_sent_is_not_left() {
        let (one, two, three) = (shared(), shared(), shared());
        let mut outbox = holding(&[&one, &two, &three]);
        outbox.sent(1);
        assert_eq!(outbox.bytes(), 20);
        outbox.retract();
        let left = outbox.take_unsent();
        assert_eq!((left.len(), left[0].event.event_id), (1, two.event.event_id));
        assert_eq!(outbox.bytes(), 0);
        outbox.sent(5);
    }

    #[test]
    fn what_another_connection_has_sent_or_will_send_is_not_left() {
        let (sent, held) = (shared(), shared());
        let (mut one, mut other) = (holding(&[&sent, &held]), holding(&[&sent, &held]));
        other.sent(1);
        assert!(one.take_unsent().is_empty());
        assert_eq!(other.take_unsent().len(), 1);
    }

    #[test]
    fn a_stored_event_tells_when_it_was_sent_and_is_left_to_nobody() {
        let mut outbox = Outbox::default();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let count = count.clone();
            let sent: Sent = Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            outbox.push(Handed::Stored(sent), 1);
        }
        outbox.sent(1);
        assert!(outbox.take_unsent().is_empty());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_queue_tells_when_it_was_sent_and_when_it_never_will_be() {
        let mut outbox = Outbox::default();
        let (tell, mut sent) = oneshot::channel();
        outbox.push(Handed::Kept, 1);
        outbox.push(Handed::Queue(tell), 1);
        outbox.sent(1);
        assert_eq!(sent.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        outbox.sent(1);
        assert_eq!(sent.try_recv(), Ok(()));
        let (tell, mut sent) = oneshot::channel();
        outbox.push(Handed::Queue(tell), 1);
        outbox.take_unsent();
        assert_eq!(sent.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
