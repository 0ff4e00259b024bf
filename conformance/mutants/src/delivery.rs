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
    model::{Backlog, EntryId, Outgoing, Queued, Sent},
    notifications::{Deliver, Haste, Rooms, Unsent},
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

/// Rooms to which a delivery with a fault leads.
pub(crate) fn faulty(rooms: Rooms, fault: Fault) -> Rooms {
    let all = Arc::<All>::default();
    Box::new(move |name| Arc::new(Faulty { clients: rooms(name), name: name.to_owned(), fault, all: all.clone() }))
}

/// A delivery with a fault, to one room.
struct Faulty {
    clients: Arc<dyn Deliver>,
    name: String,
    fault: Fault,
    all: Arc<All>,
}

/// What all rooms share, which come and go.
#[derive(Default)]
struct All {
    last: Mutex<HashMap<String, (Instant, Outgoing)>>,
    leaked: Mutex<Vec<String>>,
    count: std::sync::atomic::AtomicUsize,
    held_up: Mutex<Option<Instant>>,
}

impl Faulty {
    /// Notes that somebody was there just now.
    fn saw(&self, event: &Outgoing) {
        let mut last = self.all.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(self.name.clone(), (Instant::now(), event.clone()));
    }

    fn seen(&self) -> Option<(Instant, Outgoing)> {
        self.all.last.lock().unwrap_or_else(PoisonError::into_inner).get(&self.name).cloned()
    }

    /// Keeps two copies, as a server would that forgets to free what it has queued, and what it has written.
    fn leak(&self, event: &Outgoing) {
        let copies = std::iter::repeat_n(event.json().to_owned(), 2);
        self.all.leaked.lock().unwrap_or_else(PoisonError::into_inner).extend(copies);
    }

    /// Whether this is one of every two.
    fn is_odd(&self) -> bool {
        self.all.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
    }

    fn shuffled(&self, event: &Outgoing, haste: Haste) -> bool {
        if !self.is_odd() {
            return self.clients.deliver(event, haste);
        }
        let (clients, event) = (self.clients.clone(), event.clone());
        tokio::spawn(async move {
            tokio::time::sleep(HELD_BACK).await;
            clients.deliver(&event, haste);
        });
        true
    }
}

#[async_trait]
impl Deliver for Faulty {
    fn deliver(&self, event: &Outgoing, haste: Haste) -> bool {
        match self.fault {
            Fault::NeverLive => return false,
            // It is offered again before it is queued.
            Fault::QueuedAsWell if self.seen().is_some_and(|(_, last)| last.event_id == event.event_id) => {
                return false;
            }
            Fault::Shuffled => return self.shuffled(event, haste),
            Fault::Leaks => self.leak(event),
            Fault::OneHoldsUpAll => {
                // Whatever is emitted waits with those whose client does not read.
                let held_up = self.all.held_up.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(left) = held_up.and_then(|until| until.checked_duration_since(Instant::now())) {
                    std::thread::sleep(left);
                }
            }
            _ => {}
        }
        let taken = self.clients.deliver(event, haste);
        match self.fault {
            Fault::QueuedAsWell => {
                if taken {
                    self.saw(event);
                }
                false
            }
            Fault::NobodyIsEnough => true,
            Fault::Twice => self.clients.deliver(event, haste) || taken,
            Fault::LingersOn if !taken => self.seen().is_some_and(|(at, _)| at.elapsed() < LINGERS),
            Fault::OneHoldsUpAll => {
                // Somebody is there, who has no room and may have some in a while.
                let room = pin!(self.clients.waits_for_room()).poll(&mut Context::from_waker(Waker::noop()));
                if !taken && room.is_pending() {
                    *self.all.held_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + HELD_UP);
                }
                taken
            }
            _ => {
                if taken {
                    self.saw(event);
                }
                taken
            }
        }
    }

    async fn waits_for_room(&self) -> bool {
        match self.fault {
            // It would be offered the same again and again.
            Fault::NeverLive | Fault::QueuedAsWell => false,
            _ => self.clients.waits_for_room().await,
        }
    }

    fn acknowledged(&self) -> bool {
        self.fault != Fault::NobodyAcknowledges && self.clients.acknowledged()
    }

    fn deliver_stored(&self, event: &Outgoing, entry: EntryId, sent: Option<Sent>, haste: Haste) -> bool {
        if self.fault == Fault::Leaks {
            self.leak(event);
        }
        match self.fault {
            Fault::NeverLive | Fault::QueuedAsWell => false,
            Fault::NeverCatchesUp if sent.is_some() => false,
            _ => self.clients.deliver_stored(event, entry, sent, haste),
        }
    }

    fn take_unsent(&self) -> Vec<Unsent> {
        let unsent = self.clients.take_unsent();
        match self.fault {
            Fault::UnsentForgotten => Vec::new(),
            Fault::LastSentAgain if unsent.is_empty() => {
                let last = self.all.last.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
                last.map(|(_, event)| Unsent { event, after: EntryId::default(), number: 0 }).into_iter().collect()
            }
            _ => unsent,
        }
    }

    fn came_back(&self, events: &[Unsent]) {
        self.clients.came_back(events);
    }

    fn owed_is_free(&self, is_free: bool) {
        self.clients.owed_is_free(is_free);
    }

    fn asks_store(&self) -> Option<EntryId> {
        self.clients.asks_store().filter(|_| self.fault != Fault::NeverCatchesUp)
    }

    fn give_kept(&self, backlog: &Backlog, behind: EntryId) {
        self.clients.give_kept(backlog, behind);
    }

    fn give_queue(&self, entries: &[Queued], more: bool, sent: Sent) {
        self.clients.give_queue(entries, more, sent);
    }
}
