//! Delivery, remembered answers and health with one thing wrong.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use notify_server::{
    event::{Outgoing, Sent},
    idempotency::Answers,
    notifications::{Deliver, Unsent},
    queue::EntryId,
    store::{BoxFuture, Probe, StoreError},
};

/// What is wrong with the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Handed over, and queued as well.
    QueuedAsWell,
    /// Counts as handed over though nobody is there.
    NobodyIsEnough,
    /// Never handed over; the queue has to do.
    NeverLive,
    /// Handed over twice.
    Twice,
    /// Nobody counts as somebody who acknowledges.
    NobodyAcknowledges,
    /// What a client was handed and its transport never sent is forgotten.
    UnsentForgotten,
    /// What was handed over last comes again.
    LastSentAgain,
    /// A user counts as connected for a while after the last client has gone.
    LingersOn,
    /// Every other event is held back a little.
    Shuffled,
    /// Every event is kept in memory for good.
    Leaks,
    /// A client that does not read holds up everybody.
    OneHoldsUpAll,
}

/// Long enough for a successor to overtake.
const HELD_BACK: Duration = Duration::from_millis(15);
/// How long a user who has gone counts as connected.
const LINGERS: Duration = Duration::from_millis(150);
/// What takes longer than this is a client that does not read; and how long everybody waits then.
const SLOW: Duration = Duration::from_millis(120);
const HELD_UP: Duration = Duration::from_secs(7);

/// A delivery with a fault.
pub(crate) struct Faulty {
    deliver: Arc<dyn Deliver>,
    fault: Fault,
    last: Mutex<HashMap<String, (Instant, Outgoing)>>,
    leaked: Mutex<Vec<Outgoing>>,
    count: std::sync::atomic::AtomicUsize,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Faulty {
    pub(crate) fn new(deliver: Arc<dyn Deliver>, fault: Fault) -> Self {
        let (last, leaked, count) = Default::default();
        Self { deliver, fault, last, leaked, count, one_at_a_time: tokio::sync::Mutex::default() }
    }

    /// Notes that the room was there just now.
    fn saw(&self, room: &str, event: &Outgoing) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(room.to_owned(), (Instant::now(), event.clone()));
    }

    fn seen(&self, room: &str) -> Option<(Instant, Outgoing)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// Whether this is one of every two.
    fn is_odd(&self) -> bool {
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
    }

    async fn shuffled(&self, room: &str, event: &Outgoing) -> bool {
        if !self.is_odd() {
            return self.deliver.deliver(room, event).await;
        }
        let (deliver, room, event) = (self.deliver.clone(), room.to_owned(), event.clone());
        tokio::spawn(async move {
            tokio::time::sleep(HELD_BACK).await;
            deliver.deliver(&room, &event).await;
        });
        true
    }
}

impl Deliver for Faulty {
    fn deliver<'a>(&'a self, room: &'a str, event: &'a Outgoing) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            match self.fault {
                Fault::NeverLive => return false,
                Fault::Shuffled => return self.shuffled(room, event).await,
                Fault::Leaks => {
                    let mut leaked = self.leaked.lock().unwrap_or_else(PoisonError::into_inner);
                    leaked.extend(std::iter::repeat_n(event.clone(), 3));
                }
                _ => {}
            }
            let turn = match self.fault {
                Fault::OneHoldsUpAll => Some(self.one_at_a_time.lock().await),
                _ => None,
            };
            let began = Instant::now();
            let taken = self.deliver.deliver(room, event).await;
            if turn.is_some() && began.elapsed() > SLOW {
                tokio::time::sleep(HELD_UP).await;
            }
            match self.fault {
                Fault::QueuedAsWell => false,
                Fault::NobodyIsEnough => true,
                Fault::Twice => self.deliver.deliver(room, event).await || taken,
                Fault::LingersOn if !taken => self.seen(room).is_some_and(|(at, _)| at.elapsed() < LINGERS),
                _ => {
                    if taken {
                        self.saw(room, event);
                    }
                    taken
                }
            }
        })
    }

    fn acknowledged(&self, room: &str) -> bool {
        self.fault != Fault::NobodyAcknowledges && self.deliver.acknowledged(room)
    }

    fn deliver_kept<'a>(&'a self, room: &'a str, event: &'a Outgoing, entry: EntryId) -> BoxFuture<'a, bool> {
        self.deliver.deliver_kept(room, event, entry)
    }

    fn deliver_stored<'a>(
        &'a self,
        room: &'a str,
        event: &'a Outgoing,
        entry: EntryId,
        sent: Sent,
    ) -> BoxFuture<'a, bool> {
        self.deliver.deliver_stored(room, event, entry, sent)
    }

    fn take_unsent(&self, room: &str) -> Vec<Unsent> {
        let unsent = self.deliver.take_unsent(room);
        match self.fault {
            Fault::UnsentForgotten => Vec::new(),
            Fault::LastSentAgain if unsent.is_empty() => {
                let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(room);
                last.map(|(_, event)| Unsent { event, after: EntryId::default() }).into_iter().collect()
            }
            _ => unsent,
        }
    }
}

/// Remembers no answer, so that a repeated request emits again.
pub(crate) struct NoMemory;

impl Answers for NoMemory {
    fn answer<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn keep_answer<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Says that the store answers, whatever it does.
pub(crate) struct AlwaysReady;

impl Probe for AlwaysReady {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
