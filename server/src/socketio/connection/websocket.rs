//! The stream of a WebSocket, as the library sees it, and how a polling session gets one.

use std::{
    borrow::Cow,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::follower::{Follower, Passed},
    Connection, Link, PONG, State, Stream, closed,
};

/// How much of what the library says is kept while the client takes nothing: enough for all the packets that it keeps itself.
const LIBRARY_BYTES: usize = 16 * 1024;

impl Connection {
    /// From now on the client is reached by this stream.
    pub(in crate::socketio) fn attach(self: &Arc<Self>, stream: Box<dyn Stream>, follower: Follower) {
        let mut state = self.lock();
        state.link = Link::WebSocket(stream);
        state.follower = follower;
        state.upgrading = false;
        if !state.outbox.is_empty() {
            self.list();
        }
    }

    /// The library has let go of the stream.
    pub(in crate::socketio) fn detach(&self) -> Option<Box<dyn Stream>> {
        self.depart();
        let mut state = self.lock();
        state.engine_waker = None;
        state.from_library = Vec::new();
        match std::mem::replace(&mut state.link, Link::Gone) {
            Link::WebSocket(stream) => Some(stream),
            Link::Polling | Link::Gone => None,
        }
    }

    /// Reads for the library; or what it is to read instead, as if the client had said it.
    pub(in crate::socketio) fn read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Cow<'static, str>>>> {
        self.reader.register(cx.waker());
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(Err(closed()));
        }
        if let Some(packet) = state.unsaid.pop() {
            return Poll::Ready(Ok(Some(packet)));
        }
        match &mut state.link {
            Link::WebSocket(stream) => Pin::new(stream).poll_read(cx, buf).map_ok(|()| None),
            Link::Polling | Link::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes for the library, between two of our frames.
    pub(in crate::socketio) fn write(self: &Arc<Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(Err(closed()));
        }
        state.engine_waker = None;
        if state.follower.says_goodbye(buf) {
            self.end_in(&mut state);
        }
        if let Some(swallowed) = state.follower.swallows(buf) {
            if swallowed.is_ping {
                self.say(&mut state, PONG.into());
            }
            return Poll::Ready(Ok(swallowed.bytes));
        }
        let has_to_wait = |state: &State| state.outbox.is_within_packet() || !state.from_library.is_empty();
        if has_to_wait(&state) {
            self.flush(&mut state);
        }
        if has_to_wait(&state) {
            return self.keep(&mut state, cx, buf);
        }
        let waker = Waker::from(self.clone());
        let Link::WebSocket(stream) = &mut state.link else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Poll::Ready(written) = Pin::new(stream).poll_write(&mut Context::from_waker(&waker), buf) else {
            return self.keep(&mut state, cx, buf);
        };
        if let Ok(bytes) = written {
            let passed = state.follower.feed(&buf[..bytes]);
            self.note(&mut state, passed);
            self.goes_on(&mut state);
            if state.follower.is_between_frames() {
                self.flush(&mut state);
            }
        }
        Poll::Ready(written)
    }

    /// Keeps what the library writes until the stream takes it; where that is too much, the library waits.
    fn keep(self: &Arc<Self>, state: &mut State, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if state.ended {
            return Poll::Ready(Err(closed()));
        }
        self.begin_to_wait(state);
        self.watch(state);
        if state.from_library.len() + buf.len() > LIBRARY_BYTES {
            state.engine_waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.from_library.extend_from_slice(buf);
        let passed = state.follower.feed(buf);
        self.note(state, passed);
        Poll::Ready(Ok(buf.len()))
    }

    /// What the library has said, however it went.
    pub(super) fn note(&self, state: &mut State, passed: Passed) {
        match passed {
            // Where the client has left meanwhile, what follows is for nobody.
            Passed::Connected => {
                state.open = self.memberships.is_within();
                state.times_let_in += 1;
                self.early.is_let_in();
            }
            Passed::Disconnected => state.open = false,
            Passed::Other => {}
        }
    }

    /// Flushes for the library.
    pub(in crate::socketio) fn with_stream<T>(
        &self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut Box<dyn Stream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.lock().link {
            Link::WebSocket(stream) => act(Pin::new(stream), cx),
            Link::Polling | Link::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Begins an upgrade; false where there is one already, or was.
    pub(in crate::socketio) fn begin_upgrade(&self) -> bool {
        let mut state = self.lock();
        let may = matches!(state.link, Link::Polling) && !state.upgrading && !state.closed;
        state.upgrading |= may;
        may
    }

    /// The client has probed the new transport: it waits for the poll that it has sent, if there is one.
    pub(in crate::socketio) fn probed(&self) {
        let mut state = self.lock();
        state.release_poll = true;
        if let Some(poll) = state.poll.take() {
            poll.wake();
        }
    }

    /// The upgrade has come to nothing: everything is as it was.
    pub(in crate::socketio) fn abandon_upgrade(&self) {
        let mut state = self.lock();
        state.upgrading = false;
        state.release_poll = false;
    }
}
