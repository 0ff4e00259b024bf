//! How a connection ends: given up, since its client takes nothing; closed, evicted, or once all was sent.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    super::{LEAVING_PACKET, outbox::Shared},
    Connection, Link, State, closed,
};

impl Connection {
    /// Sees to it that somebody looks whether what waits is taken.
    pub(super) fn watch(self: &Arc<Self>, state: &mut State) {
        state.progress.get_or_insert_with(Instant::now);
        if !std::mem::replace(&mut state.watched, true) {
            let (connection, patience) = (Arc::downgrade(self), self.lines.patience);
            tokio::spawn(async move {
                let mut until = Instant::now() + patience;
                loop {
                    tokio::time::sleep_until(until).await;
                    let Some(connection) = connection.upgrade() else { return };
                    match connection.is_given_up() {
                        Ok(Some(later)) => until = later,
                        Ok(None) => return,
                        Err(()) => {
                            tracing::debug!("a client that takes nothing is closed");
                            connection.close();
                            return;
                        }
                    }
                }
            });
        }
    }

    /// When to look again, if ever; fails where the client has taken nothing for too long.
    fn is_given_up(&self) -> Result<Option<Instant>, ()> {
        let mut state = self.lock();
        if state.closed || !state.is_blocked() {
            state.watched = false;
            return Ok(None);
        }
        let now = Instant::now();
        let until = *state.progress.get_or_insert(now) + self.lines.patience;
        if until > now { Ok(Some(until)) } else { Err(()) }
    }

    /// Closes the transport, however stuck it is. From here on it is handed no byte more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        self.depart();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let mut wakers = std::mem::take(&mut state.want_room);
        wakers.extend([state.engine_waker.take(), state.poll.take()].into_iter().flatten());
        let polls = matches!(state.link, Link::Polling);
        drop(state);
        self.reader.wake();
        wakers.into_iter().for_each(Waker::wake);
        if let (true, Some(polling)) = (polls, self.polling.get()) {
            (polling.say)("1".into());
        }
    }

    /// Closes the transport of a client that was not let in and has to make room for another.
    /// Were it closed at once, the library would keep its memory until the time for its CONNECT is over; it is closed as soon as it has
    /// joined what is there for those who leave.
    pub(in crate::socketio) fn evict(&self) {
        self.evicted.store(true, Ordering::SeqCst);
        let polls = matches!(self.lock().link, Link::Polling);
        match self.polling.get() {
            Some(polling) if polls => (polling.say)(LEAVING_PACKET.into()),
            _ => self.reader.wake(),
        }
    }

    /// Whether it was sent away, so that nothing it may still be sent is worth waiting for.
    pub(in crate::socketio) fn was_evicted(&self) -> bool {
        self.evicted.load(Ordering::SeqCst)
    }

    /// Completes when it was closed from here. Only before a stream is attached.
    pub(in crate::socketio) async fn closed(&self) {
        poll_fn(|cx| self.poll_closed(cx).map(drop)).await;
    }

    /// Fails when it was closed from here. For whoever reads.
    pub(in crate::socketio) fn poll_closed(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.reader.register(cx.waker());
        if self.was_closed() { Poll::Ready(Err(closed())) } else { Poll::Pending }
    }

    /// Closes the transport as soon as it has taken all that it was handed, and after that time in any case.
    pub(crate) async fn close_when_sent(&self, within: Duration) {
        let emptied = {
            let mut state = self.lock();
            let (tell, emptied) = oneshot::channel();
            // Under the lock, so that nothing is added.
            self.depart();
            (!state.outbox.is_empty()).then(|| {
                state.when_empty = Some(tell);
                emptied
            })
        };
        if let Some(emptied) = emptied {
            timeout(within, emptied).await.ok();
        }
        self.close();
    }

    /// Whether it was closed from here.
    pub(in crate::socketio) fn was_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether there is anything of this membership that the transport has not taken.
    pub(crate) fn has_unsent(&self, membership: u32) -> bool {
        let state = self.lock();
        state.outbox_of == membership && state.has_unsent()
    }

    /// Takes the events of this membership that the transport has not taken and that no other connection will send.
    /// Where there was anything, the transport is closed: what it had begun is of no use.
    pub(crate) fn take_unsent(&self, membership: u32) -> Vec<Arc<Shared>> {
        if !self.has_unsent(membership) {
            return Vec::new();
        }
        self.close();
        self.lock().outbox.take_unsent()
    }
}
