//! What a client says, and how much of it it may.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{super::membership::Connect, Connection, State};
use crate::gate::Reason;

/// How a client comes in; whoever answers looks elsewhere for what goes with it.
const CONNECT_PACKET: &str = "40/notifications,";

/// When a CONNECT is said again that the library does not seem to have heard.
const SAYS_AGAIN: Duration = Duration::from_millis(50);

impl Connection {
    /// Notes a CONNECT; false where it is a second one (TRANS-08).
    pub(crate) fn enter(self: &Arc<Self>, payload: &str) -> bool {
        let has_unsent = self.lock().has_unsent();
        if has_unsent && !self.memberships.is_within() {
            // Something of the membership before was not sent, and has to be queued first.
            self.close();
        }
        self.early.works();
        let Some(membership) = self.memberships.begin(payload) else { return false };
        if !has_unsent {
            self.lock().outbox_of = membership;
        }
        if membership > 1 {
            self.connect_again(membership);
        }
        true
    }

    /// Says to the library that there is a further CONNECT, until it has heard one.
    fn connect_again(self: &Arc<Self>, membership: u32) {
        let connection = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                // Nobody tells when it has done with the one before.
                tokio::time::sleep(SAYS_AGAIN).await;
                let Some(connection) = connection.upgrade() else { return };
                if !connection.memberships.is_unheard(membership) {
                    return;
                }
                connection.say(&mut connection.lock(), CONNECT_PACKET.into());
            }
        });
    }

    /// The CONNECT that is to be answered by whoever the library calls for one. `None` where the client has gone; and where it is in no
    /// namespace for as long as a connection may be, then it is closed.
    pub(crate) async fn next_connect(&self) -> Option<Connect> {
        let next = poll_fn(|cx| match self.memberships.poll_next(cx) {
            Poll::Pending if self.departed.load(Ordering::SeqCst) => Poll::Ready(None),
            next => next.map(Some),
        });
        timeout(self.lines.connect_timeout, next).await.unwrap_or_else(|_| {
            self.close();
            None
        })
    }

    /// Notes that this membership has ended, so that another may follow. Events are sent no more.
    pub(crate) fn leave(&self, membership: u32) {
        if membership == self.membership() {
            self.early.waits();
            let mut state = self.lock();
            state.open = false;
            state.acks = None;
            state.ask_store = None;
        }
        self.memberships.end(membership);
    }

    /// Notes that the client has left the namespace: it is closed as one that never came in, unless it comes in again (TRANS-14).
    pub(crate) fn client_leaves(self: &Arc<Self>) {
        self.leave(self.membership());
        let (connection, times, within) = (Arc::downgrade(self), self.lock().times_let_in, self.lines.connect_timeout);
        tokio::spawn(async move {
            tokio::time::sleep(within).await;
            if let Some(connection) = connection.upgrade()
                && connection.lock().times_let_in == times
            {
                connection.close();
            }
        });
    }

    /// The membership that the last CONNECT has begun; where that has ended, the even number behind it.
    pub(crate) fn membership(&self) -> u32 {
        self.memberships.last()
    }

    /// Notes that nothing more can be handed to it.
    pub(super) fn depart(&self) {
        self.departed.store(true, Ordering::SeqCst);
        self.memberships.wake();
    }

    /// Notes that the client is done: it says goodbye or breaks the protocol, or its line has ended.
    pub(in crate::socketio) fn end(&self) {
        self.end_in(&mut self.lock());
    }

    /// Of what waits nothing goes out from here on, for it would count as sent. And the library, which tells that a session is over only
    /// when it has written whatever it has to say, is not held up by a packet that nobody takes.
    pub(super) fn end_in(&self, state: &mut State) {
        self.depart();
        state.ended = true;
        if let Some(library) = state.engine_waker.take() {
            library.wake();
        }
    }

    /// Whether this membership is over, or the client is going.
    pub(crate) fn has_left(&self, membership: u32) -> bool {
        self.departed.load(Ordering::SeqCst) || self.membership() != membership
    }

    /// Notes a packet with so many attachments.
    pub(in crate::socketio) fn expects_attachments(&self, attachments: u16) {
        self.attachments.store(attachments, Ordering::SeqCst);
    }

    /// Notes an attachment; whether one was to come.
    pub(in crate::socketio) fn takes_attachment(&self) -> bool {
        self.attachments.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |due| due.checked_sub(1)).is_ok()
    }

    /// Notes an event; whether it may send one.
    pub(in crate::socketio) fn may_send_event(&self) -> bool {
        self.events.allows(self.lines.gate.bounds.events_per_second, Instant::now())
    }

    /// Notes a fresh token. Where it was one too many, the client is closed.
    pub(in crate::socketio) fn may_refresh(&self) -> bool {
        let may = self.refreshes.allows(self.lines.gate.bounds.refreshes_per_second, Instant::now());
        if !may {
            self.refused(Reason::Rate);
            self.close();
        }
        may
    }

    /// Counts that the client is refused something.
    pub(in crate::socketio) fn refused(&self, reason: Reason) {
        self.lines.gate.refused.note(reason);
    }

    /// Notes an acknowledgement.
    pub(in crate::socketio) fn acknowledged(&self, id: u64) {
        let acks = self.lock().acks.clone();
        if let Some(acks) = acks {
            acks.acknowledged(id);
        }
    }
}
