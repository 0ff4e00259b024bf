//! The answers to polls.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::{
    super::{follower::Passed, outbox::SEPARATOR},
    Connection, Link, PollingSession, State,
};

impl Connection {
    pub(in crate::socketio) fn is_polling(&self, session: PollingSession) {
        self.polling.set(session).ok();
    }

    pub(super) fn wake_poll(self: &Arc<Self>, state: &mut State) {
        if state.outbox.is_empty() {
            self.emptied(state);
        }
        if state.outbox.is_empty() {
            return;
        }
        self.watch(state);
        if let Some(poll) = state.poll.take() {
            poll.wake();
        }
    }

    /// Completes when a poll is to be answered, whatever the library has to say.
    pub(in crate::socketio) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let has_events = matches!(state.link, Link::Polling) && state.open && state.outbox.has_packets();
        if has_events || state.release_poll || state.closed {
            return Poll::Ready(());
        }
        state.poll = Some(cx.waker().clone());
        Poll::Pending
    }

    /// An answer was not taken to its end: what the client misses cannot be put in its place any more.
    pub(in crate::socketio) fn abort_answer(&self) {
        self.lock().answering = false;
        self.close();
    }

    /// Begins the answer to a poll with what the library has to say: how many packets of ours follow, and how many bytes.
    pub(in crate::socketio) fn begin_answer(&self, packets: &[u8]) -> (usize, usize) {
        let mut state = self.lock();
        for packet in packets.split(|byte| *byte == SEPARATOR) {
            let passed = Passed::of(packet);
            self.note(&mut state, passed);
        }
        state.release_poll = false;
        state.poll = None;
        let now = Instant::now();
        state.progress = Some(now);
        // A ping waits behind this answer, if at all. That a client polls again is no pong (HEART-02).
        state.alive = Some(now);
        if !matches!(state.link, Link::Polling) || !state.open || state.closed {
            return (0, 0);
        }
        let (count, bytes) = state.outbox.packets();
        state.answering = count > 0;
        (count, bytes)
    }

    /// Whether an answer with events is on its way, so that there can be no other poll.
    pub(in crate::socketio) fn is_answering(&self) -> bool {
        self.lock().answering
    }

    /// The next bytes of an answer that has so many packets to come; none where the session was closed, for then they were taken back.
    pub(in crate::socketio) fn answer(self: &Arc<Self>, left: &mut usize, most: usize) -> Option<axum::body::Bytes> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let bytes = state.outbox.take_packets(left, most);
        self.goes_on(&mut state);
        if *left == 0 {
            state.answering = false;
            if matches!(state.link, Link::WebSocket(_)) {
                self.list();
            }
        }
        Some(bytes)
    }

    /// The answer to a poll was handed over, to whoever carries it.
    pub(in crate::socketio) fn answer_sent(self: &Arc<Self>) {
        self.note_answer_sent(&mut self.lock());
    }

    /// Writes what an answer ends with, or a part of that; nothing where what it carries was taken back. Under the lock: a client
    /// that has read it and leaves at once must not be ahead of the note.
    pub(in crate::socketio) fn end_answer(
        self: &Arc<Self>,
        bytes: usize,
        write: impl FnOnce() -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if !state.outbox.has_answered() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = write();
        if let Poll::Ready(Ok(length)) = written {
            self.goes_on(&mut state);
            if length == bytes {
                self.note_answer_sent(&mut state);
            }
        }
        written
    }

    fn note_answer_sent(self: &Arc<Self>, state: &mut State) {
        state.outbox.answer_sent();
        if state.outbox.is_empty() {
            self.emptied(state);
        }
    }
}
