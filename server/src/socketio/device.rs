//! One connected client of a user. Makes of what the service hands over what its connection is to send: as it is, or
//! with a request to acknowledge it; and remembers what the client was given of the queue, so that nothing is given twice. Knows
//! nothing of transports and of the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use super::{
    acks::{AckSetup, AckTracker},
    connection::{Connection, Offer},
    given::Given,
    outbox::{Handed, Shared},
};
use crate::{
    cluster::Presence,
    frame,
    grants::Grant,
    model::{Backlog, EntryId, Outgoing, Queued, Sent, may_have_more},
    mutex::Mutex,
    notifications::{Admission, Haste, Loss, Unsent, User},
};

/// How many events may wait for the acknowledgement of one client.
const MAX_UNANSWERED: usize = 1_024;

/// How much of what a client has missed goes into one `queued.events`; one event in any case.
const PORTION: usize = 256;
const PORTION_BYTES: usize = 512 * 1024;

pub(crate) struct Device {
    pub(crate) user: Arc<User>,
    pub(crate) connection: Arc<Connection>,
    /// Which of the connection's memberships of the namespace it is, and whether the library has dropped its socket.
    membership: u32,
    gone: AtomicBool,
    /// Where the client acknowledges.
    acks: Option<AckTracker>,
    /// What it rests on.
    grant: Mutex<Grant>,
    /// Its presence, where there are other nodes.
    presence: Option<Arc<Presence>>,
    /// What it was given of the queue, or what is noted for it.
    given: Mutex<Given>,
}

impl Device {
    /// A client that is about to be given what `admission` holds.
    pub(crate) fn new(
        connection: Arc<Connection>,
        membership: u32,
        acks: Option<&AckSetup>,
        grant: Grant,
        admission: &Admission,
    ) -> Arc<Self> {
        let acks = acks.map(|setup| AckTracker::start(admission.user().clone(), setup, &connection));
        let given = match admission.is_owed() {
            true => Given::is_owed_all(admission.newest()),
            false => Given::up_to(admission.newest()),
        };
        let (presence, given) = (admission.presence(), Mutex::new(given));
        let (user, gone, grant) = (admission.user().clone(), AtomicBool::new(false), Mutex::new(grant));
        Arc::new(Self { user, connection, membership, gone, acks, grant, presence, given })
    }

    /// Hands over what was queued. `ask_store` is called when it has caught up and the store has something that it was not given.
    pub(crate) fn hand_queue(&self, admission: Admission, ask_store: Arc<dyn Fn() + Send + Sync>) {
        self.connection.serve(self.acks.clone(), ask_store);
        if admission.has_more() {
            // Under the user's lock, which ends with what follows, so that nothing live comes in between.
            self.connection.miss_stored(self.membership);
        }
        match &self.acks {
            Some(acks) => {
                admission.hand_kept_queue(|payloads, ids, loss| {
                    self.ask(acks, payloads.iter().map(|payload| payload.get()), ids, loss);
                });
            }
            None => {
                let owed = admission.is_owed();
                admission.hand_queue_until_sent(|payloads, sent| {
                    let frame = frame::queued_events(payloads.iter().map(|payload| payload.get()), "");
                    self.connection.offer_queue(self.membership, frame, sent.map_or(Handed::Kept, Handed::Stored));
                });
                if owed {
                    self.connection.owe(self.membership);
                }
            }
        }
    }

    /// Notes events that are in the queue again, which the client was not handed: it asks for them.
    pub(crate) fn came_back(&self, events: &[Unsent]) {
        self.given.lock().came_back(events);
        self.connection.owe(self.membership);
    }

    /// Whether the queue that it is owed, if any, is on its way to nobody any more.
    pub(crate) fn owed_is_free(&self, is_free: bool) {
        self.connection.owed_is_free(self.membership, is_free);
    }

    /// Hands over a queue, and asks for its acknowledgement.
    fn ask<'a>(
        &self,
        acks: &AckTracker,
        payloads: impl Iterator<Item = &'a str> + Clone,
        ids: Vec<EntryId>,
        loss: Loss,
    ) {
        let loss_json = serde_json::to_string(&loss).expect("numbers are JSON");
        let id = acks.expect(ids, loss.counted);
        let frame = frame::queued_events(payloads, &format!(",{loss_json}")).asking(id);
        if !self.connection.offer_queue(self.membership, frame, Handed::Asking(acks.clone(), id)) {
            acks.retract();
        }
    }

    /// Is handed nothing more.
    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        if let Some(acks) = &self.acks {
            acks.end();
        }
    }

    /// Is here no more, and what it was not sent is queued: ends its presence.
    pub(crate) fn end(&self) {
        if let Some(presence) = &self.presence {
            presence.end();
        }
    }

    /// From now on it rests on this.
    pub(crate) fn renew(&self, grant: Grant) {
        let former = std::mem::replace(&mut *self.grant.lock(), grant);
        drop(former);
    }

    /// Whether the client has gone.
    pub(crate) fn has_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst) || self.connection.has_left(self.membership)
    }

    pub(crate) fn acknowledges(&self) -> bool {
        self.acks.is_some()
    }

    /// Takes what its transport has not taken.
    pub(crate) fn take_unsent(&self) -> Vec<Arc<Shared>> {
        self.connection.take_unsent(self.membership)
    }

    /// Offers an event that is in no store.
    pub(crate) fn offer(&self, event: &Arc<Shared>, haste: Haste) -> Offer {
        if self.has_gone() {
            return Offer::Gone;
        }
        self.connection.offer(self.membership, &event.event.frame, Handed::Event(event.clone()), haste)
    }

    /// Completes with true when an event would be taken, with false where none would soon.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<bool> {
        if self.has_gone() { Poll::Ready(false) } else { self.connection.poll_room(self.membership, cx) }
    }

    /// Notes an event that is in no store, and that another device has taken.
    pub(crate) fn miss(&self, event: &Arc<Shared>) {
        self.connection.miss(self.membership, &event.event, Handed::Event(event.clone()));
    }

    /// Offers an event that is stored, as `entry`: until somebody has acknowledged it, or with `sent`, until a transport has
    /// taken it. What it was given with the queue, it is not given again; where it is behind, it is given it later.
    pub(crate) fn offer_stored(&self, event: &Outgoing, entry: EntryId, sent: Option<&Sent>, haste: Haste) -> bool {
        if self.has_gone() {
            return false;
        }
        if self.given.lock().has(entry) {
            return true;
        }
        let offered = match &self.acks {
            Some(acks) => self.offer_asking(acks, event, entry, haste),
            None => {
                let handed = || sent.map_or(Handed::Kept, |sent| Handed::Stored(sent.clone()));
                let offered = self.connection.offer(self.membership, &event.frame, handed(), haste);
                if offered == Offer::Behind && self.connection.miss(self.membership, event, handed()) {
                    self.note(entry);
                }
                offered
            }
        };
        if offered == Offer::Taken {
            self.note(entry);
        }
        offered == Offer::Taken
    }

    /// Offers it with a request to acknowledge it. Where the client is behind, it stays so until it has been given what
    /// the store holds.
    fn offer_asking(&self, acks: &AckTracker, event: &Outgoing, entry: EntryId, haste: Haste) -> Offer {
        if acks.unanswered() >= MAX_UNANSWERED || !self.connection.has_room() {
            self.connection.miss_stored(self.membership);
            return Offer::Behind;
        }
        let id = acks.expect(vec![entry], 0);
        let handed = Handed::Asking(acks.clone(), id);
        let offered = self.connection.offer(self.membership, &event.frame.asking(id), handed, haste);
        if offered != Offer::Taken {
            acks.retract();
        }
        offered
    }

    /// Whether what the store has is to come before anything that is live.
    pub(crate) fn is_behind(&self) -> bool {
        self.connection.is_behind()
    }

    /// Whether it has taken all that it was handed, and the store has more for it.
    pub(crate) fn asks_store(&self) -> bool {
        !self.has_gone()
            && self.acks.as_ref().is_none_or(|acks| acks.unanswered() < MAX_UNANSWERED / 2)
            && self.connection.asks_store()
    }

    /// Behind which entry the store has what the client was not given.
    pub(crate) fn behind(&self) -> EntryId {
        self.given.lock().behind()
    }

    /// Hands over what the store has and it was not given, a portion at a time; only where [`Device::asks_store`].
    pub(crate) fn give(&self, backlog: &Backlog) {
        let mut given = self.given.lock();
        let missed: Vec<_> = backlog.entries.iter().filter(|entry| given.lacks(entry)).collect();
        let mut bytes = 0;
        let portion: Vec<_> = missed
            .iter()
            .copied()
            .take(PORTION)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry.payload.len();
                first || bytes <= PORTION_BYTES
            })
            .collect();
        let ids: Vec<_> = portion.iter().map(|entry| entry.id).collect();
        ids.iter().for_each(|id| given.note(*id));
        let is_rest = portion.len() == missed.len();
        let last = if is_rest { backlog.entries.last().map(|entry| entry.id) } else { ids.last().copied() };
        given.has_all_up_to(last.unwrap_or_default());
        let more = !is_rest || may_have_more(&backlog.entries);
        if !more {
            given.has_all();
        }
        drop(given);
        let payloads = portion.iter().map(|entry| &*entry.payload).filter(|payload| Outgoing::is_payload(payload));
        if !portion.is_empty() {
            match &self.acks {
                Some(acks) => {
                    // What is told twice before it is acknowledged is taken from the count once.
                    let counted = if acks.has_told() { 0 } else { backlog.dropped };
                    let loss = Loss { complete: backlog.dropped == 0, dropped: backlog.dropped, counted };
                    self.ask(acks, payloads, ids, loss);
                }
                None => {
                    let frame = frame::queued_events(payloads, "");
                    self.connection.offer_queue(self.membership, frame, Handed::Kept);
                }
            }
        }
        self.connection.told_by_store(self.membership, more);
    }

    /// Hands over what the client lacks of a queue that nobody else is given, and that may have `more`; `sent` is called when the
    /// transport has taken it.
    pub(crate) fn give_queue(&self, entries: &[Queued], more: bool, sent: Sent) {
        let mut given = self.given.lock();
        let lacking: Vec<_> = entries.iter().filter(|entry| given.lacks(entry)).collect();
        lacking.iter().for_each(|entry| given.note(entry.id));
        if !more {
            given.has_all();
        }
        drop(given);
        let payloads: Vec<_> =
            lacking.iter().map(|entry| &*entry.payload).filter(|payload| Outgoing::is_payload(payload)).collect();
        self.connection.hand_missed(self.membership, &payloads, Handed::Stored(sent), more);
    }

    fn note(&self, entry: EntryId) {
        self.given.lock().note(entry);
    }
}
