//! One connected client: what it is handed, how much of that may wait for it, and when it is given up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::value::RawValue;
use socketioxide::{SendError, SocketError, extract::SocketRef};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    admission::{Admission, Loss},
    cluster::Stay,
    event::{Outgoing, Sent},
    keeper::Keeper,
    queue::EntryId,
    rights::Grant,
    wire::{
        Session,
        outbox::{Handed, Shared},
    },
};

/// How many events may wait for a client that does not read, and how many bytes. A batch of the usual size fits in.
const MAX_WAITING: usize = 1_024;
const MAX_WAITING_BYTES: usize = 512 * 1024;

/// How many packets the library keeps for a client: those above, and some of its own.
pub(crate) const BUFFERED_PACKETS: usize = MAX_WAITING + 64;

/// How long an event waits for room at a client. Then the client is given up: it would miss something otherwise.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a client may take to fetch what was queued. Nobody else is kept waiting by it but the user's other events.
const QUEUE_PATIENCE: Duration = Duration::from_secs(3);

const QUEUED_EVENTS: &str = "queued.events";

pub(crate) struct Device {
    pub(crate) user_id: String,
    pub(crate) wire: Arc<Session>,
    /// Where the client acknowledges.
    keeper: Option<Keeper>,
    /// What it rests on.
    grant: Mutex<Grant>,
    /// Where there are other nodes.
    stay: Option<Arc<Stay>>,
    /// The newest entry of the queue that it was given.
    newest: Mutex<EntryId>,
}

impl Device {
    /// Somebody who is about to be given what `admission` holds.
    pub(crate) fn new(
        user_id: String,
        wire: Arc<Session>,
        keeper: Option<Keeper>,
        grant: Grant,
        admission: &Admission,
    ) -> Arc<Self> {
        let (stay, newest) = (admission.stay(), Mutex::new(admission.newest()));
        Arc::new(Self { user_id, wire, keeper, grant: Mutex::new(grant), stay, newest })
    }

    /// Is here no more, though the connection may still be cleaned up.
    pub(crate) fn end_stay(&self) {
        if let Some(stay) = &self.stay {
            stay.end();
        }
    }

    /// From now on it rests on this.
    pub(crate) fn renew(&self, grant: Grant) {
        let former = std::mem::replace(&mut *self.grant.lock().unwrap_or_else(PoisonError::into_inner), grant);
        drop(former);
    }

    pub(crate) fn acknowledges(&self) -> bool {
        self.keeper.is_some()
    }

    /// Offers an event that is in no store; true where the client has taken it.
    pub(crate) async fn offer(&self, socket: &SocketRef, event: &Arc<Shared>) -> bool {
        self.hand_in_time(socket, &event.event, || Handed::Event(event.clone()), None).await
    }

    /// Whether it takes an event at once, or is going and takes none.
    pub(crate) fn waits_for_nothing(&self) -> bool {
        self.wire.has_departed() || self.has_room()
    }

    /// The same where [`Device::waits_for_nothing`], for a client that does not acknowledge.
    pub(crate) fn offer_at_once(&self, socket: &SocketRef, event: &Arc<Shared>) -> bool {
        if self.wire.has_departed() {
            return false;
        }
        match self.hand(socket, &event.event, Handed::Event(event.clone()), None) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(socket = %socket.id, %error, "an event was not taken");
                // Full, though there is room in our part of it: the client asks more than it reads.
                if matches!(error, SendError::Socket(SocketError::InternalChannelFull)) {
                    self.wire.close();
                }
                false
            }
        }
    }

    /// Offers an event that is stored until it is acknowledged.
    pub(crate) async fn offer_kept(&self, socket: &SocketRef, event: &Outgoing, entry: EntryId) -> bool {
        self.offer_once(socket, event, entry, || Handed::Kept).await
    }

    /// Offers an event that is stored until a transport has taken it.
    pub(crate) async fn offer_stored(&self, socket: &SocketRef, event: &Outgoing, entry: EntryId, sent: &Sent) -> bool {
        self.offer_once(socket, event, entry, || Handed::Stored(sent.clone())).await
    }

    /// What it was given with the queue, it is not given again. Only within the user's turn, so in the order of the entries.
    async fn offer_once(
        &self,
        socket: &SocketRef,
        event: &Outgoing,
        entry: EntryId,
        handed: impl Fn() -> Handed,
    ) -> bool {
        if self.newest() >= entry {
            return true;
        }
        let taken = self.hand_in_time(socket, event, handed, Some(entry)).await;
        if taken {
            *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = entry;
        }
        taken
    }

    /// The newest entry of the queue that it was given.
    pub(crate) fn newest(&self) -> EntryId {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a queue; true once the transport has taken it.
    pub(crate) async fn offer_queue(&self, socket: &SocketRef, payloads: &[Box<RawValue>]) -> bool {
        let (sent, was_sent) = oneshot::channel();
        if !self.wire.expect(Handed::Queue(sent), size(payloads)) {
            return false;
        }
        if socket.emit(QUEUED_EVENTS, &[payloads]).is_err() {
            self.wire.outbox().retract();
            return false;
        }
        let was_sent = matches!(timeout(QUEUE_PATIENCE, was_sent).await, Ok(Ok(())));
        if !was_sent {
            self.wire.close();
        }
        was_sent
    }

    /// Hands over a queue that stays in the store until it is acknowledged, or for ever as far as this client goes.
    pub(crate) fn offer_kept_queue(
        &self,
        socket: &SocketRef,
        payloads: &[Box<RawValue>],
        ids: Vec<EntryId>,
        loss: Loss,
    ) -> bool {
        if !self.wire.expect(Handed::Kept, size(payloads)) {
            return false;
        }
        let handed = match &self.keeper {
            None => socket.emit(QUEUED_EVENTS, &[payloads]),
            Some(keeper) => socket
                .emit_with_ack(QUEUED_EVENTS, &(payloads, &loss))
                .map(|acknowledgement| keeper.expect(ids, loss.counted, acknowledgement)),
        };
        if handed.is_err() {
            self.wire.outbox().retract();
        }
        handed.is_ok()
    }

    async fn hand_in_time(
        &self,
        socket: &SocketRef,
        event: &Outgoing,
        handed: impl Fn() -> Handed,
        entry: Option<EntryId>,
    ) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.wire.has_departed() {
                return false;
            }
            // Before the look, so that room that is made in between is noticed.
            let room = self.wire.room();
            if self.has_room() {
                match self.hand(socket, event, handed(), entry) {
                    Ok(()) => return true,
                    Err(SendError::Socket(SocketError::InternalChannelFull)) => {}
                    Err(error) => {
                        tracing::debug!(socket = %socket.id, %error, "an event was not taken");
                        return false;
                    }
                }
            }
            if timeout_at(deadline, room).await.is_err() {
                tracing::debug!(socket = %socket.id, "a client that does not read is closed");
                self.wire.close();
                return false;
            }
        }
    }

    fn has_room(&self) -> bool {
        let outbox = self.wire.outbox();
        outbox.len() < MAX_WAITING
            && outbox.bytes() < MAX_WAITING_BYTES
            && self.keeper.as_ref().is_none_or(|keeper| keeper.in_flight() < MAX_WAITING)
    }

    fn hand(
        &self,
        socket: &SocketRef,
        event: &Outgoing,
        handed: Handed,
        entry: Option<EntryId>,
    ) -> Result<(), SendError> {
        let name = event.event_type.name();
        if !self.wire.expect(handed, event.json.get().len()) {
            return Err(SendError::Socket(SocketError::Closed));
        }
        let outcome = match (&self.keeper, entry) {
            (Some(keeper), Some(entry)) => socket
                .emit_with_ack(name, &*event.json)
                .map(|acknowledgement| keeper.expect(vec![entry], 0, acknowledgement)),
            _ => socket.emit(name, &*event.json),
        };
        if outcome.is_err() {
            self.wire.outbox().retract();
        }
        outcome
    }
}

fn size(payloads: &[Box<RawValue>]) -> usize {
    payloads.iter().map(|payload| payload.get().len()).sum()
}
