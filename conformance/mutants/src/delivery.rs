//! Delivery, remembered answers and health with one thing wrong.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use notify_server::{
    model::{Backlog, EntryId, Outgoing, Sent},
    notifications::{Deliver, Haste, Unsent},
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
    /// Whoever was behind is not given what was stored meanwhile.
    NeverCatchesUp,
}

/// Long enough for a successor to overtake.
const HELD_BACK: Duration = Duration::from_millis(15);
/// How long a user who has gone counts as connected.
const LINGERS: Duration = Duration::from_millis(150);
/// How long everybody waits for a client that does not read.
const HELD_UP: Duration = Duration::from_secs(7);

/// A delivery with a fault.
pub(crate) struct Faulty {
    deliver: Arc<dyn Deliver>,
    fault: Fault,
    last: Mutex<HashMap<String, (Instant, Outgoing)>>,
    leaked: Mutex<Vec<String>>,
    count: std::sync::atomic::AtomicUsize,
    held_up: Mutex<Option<Instant>>,
}

impl Faulty {
    pub(crate) fn new(deliver: Arc<dyn Deliver>, fault: Fault) -> Self {
        let (last, leaked, count, held_up) = Default::default();
        Self { deliver, fault, last, leaked, count, held_up }
    }

    /// Notes that the room was there just now.
    fn saw(&self, room: &str, event: &Outgoing) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(room.to_owned(), (Instant::now(), event.clone()));
    }

    fn seen(&self, room: &str) -> Option<(Instant, Outgoing)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// Keeps two copies, as a server would that forgets to free what it has queued, and what it has written.
    fn leak(&self, event: &Outgoing) {
        let copies = std::iter::repeat_n(event.json().to_owned(), 2);
        self.leaked.lock().unwrap_or_else(PoisonError::into_inner).extend(copies);
    }

    /// Whether this is one of every two.
    fn is_odd(&self) -> bool {
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
    }

    fn shuffled(&self, room: &str, event: &Outgoing, haste: Haste) -> bool {
        if !self.is_odd() {
            return self.deliver.deliver(room, event, haste);
        }
        let (deliver, room, event) = (self.deliver.clone(), room.to_owned(), event.clone());
        tokio::spawn(async move {
            tokio::time::sleep(HELD_BACK).await;
            deliver.deliver(&room, &event, haste);
        });
        true
    }
}

#[async_trait]
impl Deliver for Faulty {
    fn deliver(&self, room: &str, event: &Outgoing, haste: Haste) -> bool {
        match self.fault {
            Fault::NeverLive => return false,
            // It is offered again before it is queued.
            Fault::QueuedAsWell if self.seen(room).is_some_and(|(_, last)| last.event_id == event.event_id) => {
                return false;
            }
            Fault::Shuffled => return self.shuffled(room, event, haste),
            Fault::Leaks => self.leak(event),
            Fault::OneHoldsUpAll => {
                // Whatever is emitted waits with those whose client does not read.
                let held_up = self.held_up.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(left) = held_up.and_then(|until| until.checked_duration_since(Instant::now())) {
                    std::thread::sleep(left);
                }
            }
            _ => {}
        }
        let taken = self.deliver.deliver(room, event, haste);
        match self.fault {
            Fault::QueuedAsWell => {
                if taken {
                    self.saw(room, event);
                }
                false
            }
            Fault::NobodyIsEnough => true,
            Fault::Twice => self.deliver.deliver(room, event, haste) || taken,
            Fault::LingersOn if !taken => self.seen(room).is_some_and(|(at, _)| at.elapsed() < LINGERS),
            Fault::OneHoldsUpAll => {
                // Somebody is there, who has no room and may have some in a while.
                let room = pin!(self.deliver.waits_for_room(room)).poll(&mut Context::from_waker(Waker::noop()));
                if !taken && room.is_pending() {
                    *self.held_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + HELD_UP);
                }
                taken
            }
            _ => {
                if taken {
                    self.saw(room, event);
                }
                taken
            }
        }
    }

    async fn waits_for_room(&self, room: &str) -> bool {
        match self.fault {
            // It would be offered the same again and again.
            Fault::NeverLive | Fault::QueuedAsWell => false,
            _ => self.deliver.waits_for_room(room).await,
        }
    }

    fn acknowledged(&self, room: &str) -> bool {
        self.fault != Fault::NobodyAcknowledges && self.deliver.acknowledged(room)
    }

    fn deliver_stored(&self, room: &str, event: &Outgoing, entry: EntryId, sent: Option<Sent>, haste: Haste) -> bool {
        if self.fault == Fault::Leaks {
            self.leak(event);
        }
        match self.fault {
            Fault::NeverLive | Fault::QueuedAsWell => false,
            Fault::NeverCatchesUp if sent.is_some() => false,
            _ => self.deliver.deliver_stored(room, event, entry, sent, haste),
        }
    }

    fn take_unsent(&self, room: &str) -> Vec<Unsent> {
        let unsent = self.deliver.take_unsent(room);
        match self.fault {
            Fault::UnsentForgotten => Vec::new(),
            Fault::LastSentAgain if unsent.is_empty() => {
                let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(room);
                last.map(|(_, event)| Unsent { event, after: EntryId::default(), number: 0 }).into_iter().collect()
            }
            _ => unsent,
        }
    }

    fn owe(&self, room: &str) {
        self.deliver.owe(room);
    }

    fn owed_is_free(&self, room: &str, is_free: bool) {
        self.deliver.owed_is_free(room, is_free);
    }

    fn asks_store(&self, room: &str) -> Option<EntryId> {
        self.deliver.asks_store(room).filter(|_| self.fault != Fault::NeverCatchesUp)
    }

    fn give_kept(&self, room: &str, backlog: &Backlog) {
        self.deliver.give_kept(room, backlog);
    }

    fn give_queue(&self, room: &str, payloads: &[&str], newest: EntryId, more: bool, sent: Sent) {
        self.deliver.give_queue(room, payloads, newest, more, sent);
    }
}
