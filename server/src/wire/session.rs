//! One Engine.IO session, whatever transport it uses: what state it is in, how it is closed, what it still has to send.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    sync::{Notify, futures::Notified},
    time::timeout,
};

use super::outbox::{Handed, Outbox, Shared};

/// Goes with the handshake request, so that the Socket.IO handlers find it there, and lives as long as the session.
#[derive(Default)]
pub(crate) struct Session {
    /// A CONNECT to the namespace was sent, and neither refused nor undone by a DISCONNECT.
    entered: AtomicBool,
    /// The transport is known to be going: nothing more can be handed to it.
    departed: AtomicBool,
    /// Closed from here: the transport takes no further byte.
    outbox: Mutex<Outbox>,
    closed: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    room: Notify,
    /// How a polling session is closed; a WebSocket is by its stream.
    close_polling: OnceLock<Box<dyn Fn() + Send + Sync>>,
    listed: OnceLock<(String, Weak<Sessions>)>,
}

impl Session {
    /// Notes a CONNECT; false where it is a second one (TRANS-08).
    pub(crate) fn enter(&self) -> bool {
        !self.entered.swap(true, Ordering::SeqCst)
    }

    /// Notes that the CONNECT was refused or undone, so that another may follow.
    pub(crate) fn leave(&self) {
        self.entered.store(false, Ordering::SeqCst);
    }

    /// Notes that the client is going by itself.
    pub(crate) fn depart(&self) {
        self.departed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_departed(&self) -> bool {
        self.departed.load(Ordering::SeqCst)
    }

    /// Closes the transport, however stuck it is. From here on it is handed no byte more.
    pub(crate) fn close(&self) {
        self.close_if(|_| true);
    }

    /// Closes the transport as soon as it has taken all that it was handed, and after that time in any case.
    pub(crate) async fn close_when_sent(&self, within: Duration) {
        let sent = async {
            loop {
                // Before the look, so that what is sent in between is noticed.
                let room = self.room();
                if self.close_if(|outbox| outbox.len() == 0) {
                    return;
                }
                room.await;
            }
        };
        if timeout(within, sent).await.is_err() {
            self.close();
        }
    }

    /// False where it is not to be closed, judging by what it still has to send.
    fn close_if(&self, condition: impl FnOnce(&Outbox) -> bool) -> bool {
        {
            // Under the lock, so that no write is in between: what the outbox holds now will not be sent, and nothing is added.
            let outbox = self.outbox();
            if !condition(&outbox) {
                return false;
            }
            self.depart();
            if self.closed.swap(true, Ordering::SeqCst) {
                return true;
            }
        }
        self.reader.wake();
        self.writer.wake();
        if let Some(close) = self.close_polling.get() {
            close();
        }
        self.make_room();
        true
    }

    /// Notes an event that the connection is about to be handed; false where it is closed and would never send it.
    pub(crate) fn expect(&self, handed: Handed, bytes: usize) -> bool {
        let mut outbox = self.outbox();
        let open = !self.was_closed();
        if open {
            outbox.push(handed, bytes);
        }
        open
    }

    /// Whether it was closed from here.
    pub(super) fn was_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closes the transport and returns the events that it has not taken and that no other connection will send.
    pub(crate) fn close_and_take_unsent(&self) -> Vec<Arc<Shared>> {
        self.close();
        self.outbox().take_unsent()
    }

    /// What was handed to the connection and not yet taken by its transport.
    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Nothing in it can panic half way.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when there may be room again: something was sent or acknowledged, or the session was closed. What happens
    /// from the call on counts.
    pub(crate) fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    pub(crate) fn make_room(&self) {
        self.room.notify_waiters();
    }

    /// Fails once the session is closed; else the reader is woken by [`Session::close`].
    pub(super) fn check_reading(&self, cx: &Context<'_>) -> io::Result<()> {
        self.reader.register(cx.waker());
        self.check()
    }

    /// Lets the transport write, and takes from the outbox the events that have left by it, as `count` says.
    pub(super) fn write(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<usize>>,
        count: impl FnOnce(usize) -> usize,
    ) -> Poll<io::Result<usize>> {
        self.writer.register(cx.waker());
        let mut outbox = self.outbox();
        self.check()?;
        let written = write(cx);
        if let Poll::Ready(Ok(bytes)) = written {
            let events = count(bytes);
            if events > 0 {
                outbox.sent(events);
                drop(outbox);
                self.make_room();
            }
        }
        written
    }

    fn check(&self) -> io::Result<()> {
        match self.closed.load(Ordering::SeqCst) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the session was closed")),
            false => Ok(()),
        }
    }

    pub(super) fn on_close(&self, close_polling: Box<dyn Fn() + Send + Sync>) {
        self.close_polling.set(close_polling).ok();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((sid, sessions)) = self.listed.get()
            && let Some(sessions) = sessions.upgrade()
        {
            sessions.lock().remove(sid);
        }
    }
}

/// The sessions that began by polling, by id, so that their later requests are judged together.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Weak<Session>>>);

impl Sessions {
    pub(super) fn list(self: &Arc<Self>, sid: String, session: &Arc<Session>) {
        self.lock().insert(sid.clone(), Arc::downgrade(session));
        session.listed.set((sid, Arc::downgrade(self))).ok();
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Session>> {
        self.lock().get(sid)?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Session>>> {
        // Every change is a single call, so a panic elsewhere cannot have left it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
