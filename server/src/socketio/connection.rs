//! One Engine.IO session, whatever transport it uses: what it was handed, what its transport has taken, whether that goes on,
//! and how it is closed. Knows nothing of users, rooms or stores.
//!
//! What is handed over stands here; what the client says in `client`, what the library reads and writes in `websocket`, the answers to polls
//! in `polling`, and all ways in which it is over in `end`.
//!
//! Events go beneath the library: a frame that was written once for all is written to the stream of a WebSocket between two frames
//! of the library's, or goes into the answer to a poll, behind what the library puts there. Under one lock, so that
//! what was taken is a fact and no conclusion.

mod client;
mod end;
mod polling;
mod websocket;

use std::{
    borrow::Cow,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::Instant,
};

use super::{
    acks::AckTracker,
    early::Early,
    flusher::Flusher,
    follower::Follower,
    membership::Memberships,
    outbox::{Handed, Outbox},
    sessions::Listing,
};
use crate::{
    frame::Frame,
    gate::{Gate, Rate},
    grants::Close,
    model::Outgoing,
    mutex::Mutex,
    notifications::Haste,
};

/// How many pieces one write takes.
const AT_ONCE: usize = 64;

/// How often, at the most, a client that takes what waits for it counts as one that has answered a ping, which is somewhere behind that: or
/// a quarter of the time that it has for an answer, where that is less.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How a client answers a ping.
const PONG: &str = "3";

/// What can be read and written.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// What became of an event that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It will be sent, or taken back.
    Taken,
    /// The client is behind; it has to be given it later.
    Behind,
    /// The client has gone.
    Gone,
}

/// What waits for a client.
pub(crate) struct Waiting {
    /// Whether it comes for it by polling.
    pub(crate) polls: bool,
    pub(crate) behind: bool,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// What all connections of a server share.
pub(crate) struct Lines {
    pub(crate) flusher: Flusher,
    /// How long a client may take nothing of what waits for it.
    pub(crate) patience: Duration,
    /// How long a client may stay that is in no namespace any more.
    pub(crate) connect_timeout: Duration,
    /// How many events are held for a client that is behind: as many as a queue holds.
    pub(crate) missed_at_most: usize,
    pub(crate) gate: Arc<Gate>,
}

/// Goes with the handshake request, so that the Socket.IO handlers find it there, and lives as long as the session.
pub(crate) struct Connection {
    lines: Arc<Lines>,
    /// What it may do before it was let in.
    pub(super) early: Early,
    events: Rate,
    refreshes: Rate,
    /// It had to make room for another.
    evicted: AtomicBool,
    state: Mutex<State>,
    memberships: Memberships,
    /// How many attachments of the last packet are still to come.
    attachments: AtomicU16,
    /// The transport is known to be going: nothing more can be handed to it.
    departed: AtomicBool,
    /// The flusher knows of it.
    listed: AtomicBool,
    /// Whoever reads for the library.
    reader: AtomicWaker,
    /// How a polling session is reached; a WebSocket is by its stream.
    polling: OnceLock<PollingSession>,
}

/// What can be done to a polling session from outside.
pub(crate) struct PollingSession {
    /// Says something to the library as the client would.
    pub(crate) say: Box<dyn Fn(Cow<'static, str>) + Send + Sync>,
    pub(crate) _listing: Listing,
}

#[derive(Default)]
struct State {
    link: Link,
    /// The answer to the CONNECT has passed, and nothing has undone it: events may follow.
    open: bool,
    /// How often that was so.
    times_let_in: u32,
    /// Closed from here: the transport takes no further byte.
    closed: bool,
    /// The client is done, or the library is with it: nobody waits until it takes more.
    ended: bool,
    follower: Follower,
    outbox: Outbox,
    /// The membership that the outbox is of: a client may have left, and come in again as somebody else.
    outbox_of: u32,
    acks: Option<AckTracker>,
    /// Asks the store for what the client has missed.
    ask_store: Option<Arc<dyn Fn() + Send + Sync>>,
    /// What the library has written and the stream has not taken; it goes out before any further packet of ours. Were the library to
    /// wait instead, it would not get to the end of a session that it has closed: its last word would be behind.
    from_library: Vec<u8>,
    /// The library, where it waits to write all the same.
    engine_waker: Option<Waker>,
    /// Somebody looks whether it goes on.
    watched: bool,
    /// When something was taken last, or began to wait.
    progress: Option<Instant>,
    alive: Option<Instant>,
    /// What the library is to read as if the client had said it.
    unsaid: Vec<Cow<'static, str>>,
    /// Of polling: an answer is on its way; a poll waits; one is to be answered though there is nothing.
    answering: bool,
    poll: Option<Waker>,
    release_poll: bool,
    upgrading: bool,
    when_empty: Option<oneshot::Sender<()>>,
    /// Who waits for room.
    want_room: Vec<Waker>,
}

/// How the client is reached.
#[derive(Default)]
enum Link {
    #[default]
    Polling,
    WebSocket(Box<dyn Stream>),
    Gone,
}

impl State {
    fn is_blocked(&self) -> bool {
        !self.outbox.is_empty() || !self.from_library.is_empty() || self.engine_waker.is_some()
    }

    fn has_unsent(&self) -> bool {
        !self.outbox.is_empty() || self.outbox.is_behind()
    }
}

impl Connection {
    pub(crate) fn new(lines: Arc<Lines>) -> Arc<Self> {
        Arc::new(Self {
            lines,
            early: Early::default(),
            events: Rate::default(),
            refreshes: Rate::default(),
            evicted: AtomicBool::new(false),
            state: Mutex::default(),
            memberships: Memberships::default(),
            attachments: AtomicU16::new(0),
            departed: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            polling: OnceLock::new(),
        })
    }

    /// One that nobody reaches.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        Self::new(Arc::new(Lines {
            flusher: Flusher::default(),
            patience: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(7),
            missed_at_most: 50,
            gate: Gate::new(crate::gate::Bounds::default(), crate::proxies::TrustedProxies::default()),
        }))
    }

    /// What is needed while the client is in the namespace.
    pub(crate) fn serve(&self, acks: Option<AckTracker>, ask_store: Arc<dyn Fn() + Send + Sync>) {
        let mut state = self.lock();
        state.acks = acks;
        state.ask_store = Some(ask_store);
    }

    /// What waits for the client just now.
    pub(crate) fn waiting(&self) -> Waiting {
        let state = self.lock();
        let (events, bytes) = state.outbox.waiting();
        Waiting { polls: matches!(state.link, Link::Polling), behind: state.outbox.is_behind(), events, bytes }
    }

    /// Whether there is something that the client has to be given before any event.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().outbox.is_behind()
    }

    /// Whether an event would be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().outbox.has_room()
    }

    /// Completes with true when an event would be taken; with false where none would soon, for the client is behind or has gone.
    pub(crate) fn poll_room(&self, membership: u32, cx: &Context<'_>) -> Poll<bool> {
        let Some(mut state) = self.lock_for(membership) else { return Poll::Ready(false) };
        if state.outbox.is_behind() {
            return Poll::Ready(false);
        }
        if state.outbox.has_room() {
            return Poll::Ready(true);
        }
        if !state.want_room.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.want_room.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Hands over an event, where there is room.
    pub(crate) fn offer(self: &Arc<Self>, membership: u32, frame: &Frame, handed: Handed, haste: Haste) -> Offer {
        let Some(mut state) = self.lock_for(membership) else { return Offer::Gone };
        if !state.outbox.has_room() {
            return Offer::Behind;
        }
        self.begin_to_wait(&mut state);
        state.outbox.push(frame.clone(), handed);
        self.send(state, haste);
        Offer::Taken
    }

    /// Hands over what was queued; what is offered from now on comes behind it. False where the client has gone.
    pub(crate) fn offer_queue(self: &Arc<Self>, membership: u32, frame: Frame, handed: Handed) -> bool {
        let Some(mut state) = self.lock_for(membership) else { return false };
        self.begin_to_wait(&mut state);
        state.outbox.push_queue(frame, handed);
        self.send(state, Haste::Now);
        true
    }

    /// Notes an event that a client behind has to be given once it has caught up. False for one that comes from the store then.
    pub(crate) fn miss(self: &Arc<Self>, membership: u32, event: &Outgoing, handed: Handed) -> bool {
        let Some(mut state) = self.lock_for(membership) else { return false };
        let noted = state.outbox.miss(event, handed, self.lines.missed_at_most);
        if noted {
            // It may have caught up meanwhile.
            self.send(state, Haste::Soon);
        }
        noted
    }

    /// Notes that the queue, which is on its way to another device, is this client's where that one breaks.
    pub(crate) fn owe(self: &Arc<Self>, membership: u32) {
        let Some(mut state) = self.lock_for(membership) else { return };
        state.outbox.owe();
        self.send(state, Haste::Soon);
    }

    /// Notes whether the queue, if it is owed to this client, is on its way to nobody any more.
    pub(crate) fn owed_is_free(self: &Arc<Self>, membership: u32, is_free: bool) {
        let Some(mut state) = self.lock_for(membership) else { return };
        state.outbox.owed_is_free(is_free);
        // What was missed may have waited for it.
        self.send(state, Haste::Soon);
    }

    /// Notes that the store has something that the client has to be given once it has caught up.
    pub(crate) fn miss_stored(self: &Arc<Self>, membership: u32) {
        let Some(mut state) = self.lock_for(membership) else { return };
        state.outbox.miss_stored();
        self.send(state, Haste::Soon);
    }

    /// Notes that the client was given what the store has, but for what it has `more`.
    pub(crate) fn told_by_store(self: &Arc<Self>, membership: u32, more: bool) {
        let Some(mut state) = self.lock_for(membership) else { return };
        state.outbox.told_by_store(more);
        self.send(state, Haste::Soon);
    }

    /// Whether the client has taken everything, and the store has something that it has missed.
    pub(crate) fn asks_store(&self) -> bool {
        self.lock().outbox.asks_store()
    }

    /// Hands over what the store had, and what was missed since; that has to wait where the store has `more`.
    pub(crate) fn hand_missed(self: &Arc<Self>, membership: u32, stored: &[&str], handed: Handed, more: bool) {
        let Some(mut state) = self.lock_for(membership) else { return };
        self.begin_to_wait(&mut state);
        state.outbox.told_by_store(more);
        state.outbox.hand_missed(stored, handed);
        self.send(state, Haste::Now);
    }

    /// To be called where a client may have caught up by another way than by being sent something.
    pub(crate) fn look_whether_caught_up(self: &Arc<Self>) {
        let state = self.lock();
        if state.outbox.is_behind() {
            self.send(state, Haste::Soon);
        }
    }

    fn begin_to_wait(&self, state: &mut State) {
        if !state.is_blocked() {
            state.progress = None;
        }
    }

    fn send(self: &Arc<Self>, mut state: MutexGuard<'_, State>, haste: Haste) {
        match state.link {
            Link::Polling => self.wake_poll(&mut state),
            Link::WebSocket(_) if haste == Haste::Now && !self.lines.flusher.is_busy() => self.flush(&mut state),
            Link::WebSocket(_) => self.list(),
            Link::Gone => {}
        }
    }

    fn list(self: &Arc<Self>) {
        if !self.listed.swap(true, Ordering::SeqCst) {
            self.lines.flusher.list(self.clone());
        }
    }

    /// Writes what waits; to be called by the flusher, for one that was listed.
    pub(super) fn flush_listed(self: &Arc<Self>) {
        self.listed.store(false, Ordering::SeqCst);
        let mut state = self.lock();
        match state.link {
            Link::Polling => self.wake_poll(&mut state),
            Link::WebSocket(_) => self.flush(&mut state),
            Link::Gone => {}
        }
    }

    /// Writes what waits, between two frames of the library's, for as long as the system takes it.
    fn flush(self: &Arc<Self>, state: &mut State) {
        let waker = Waker::from(self.clone());
        let cx = &mut Context::from_waker(&waker);
        loop {
            // The library's pings and answers take turns with events.
            let is_librarys = !state.outbox.is_within_packet() && !state.from_library.is_empty();
            if !state.outbox.is_within_packet() && !is_librarys {
                // It waits to write. Its `write` comes back here.
                if let Some(library) = state.engine_waker.take() {
                    library.wake();
                    return;
                }
                if state.outbox.is_empty() {
                    self.emptied(state);
                }
                if state.outbox.is_empty() || !state.open || !state.follower.is_between_frames() {
                    return;
                }
            }
            if state.closed || state.ended || state.answering {
                return;
            }
            let Link::WebSocket(stream) = &mut state.link else { return };
            let written = if is_librarys {
                Pin::new(stream).poll_write(cx, &state.from_library)
            } else {
                let mut slices = [IoSlice::new(&[]); AT_ONCE];
                let count = state.outbox.slices(&mut slices);
                Pin::new(stream).poll_write_vectored(cx, &slices[..count])
            };
            match written {
                Poll::Ready(Ok(bytes @ 1..)) => {
                    if is_librarys {
                        // Whoever has nothing kept has no memory for it, either.
                        state.from_library = state.from_library.split_off(bytes);
                    } else {
                        state.outbox.taken(bytes);
                    }
                    self.goes_on(state);
                }
                Poll::Ready(_) => {
                    // The library may still read what the client has said before.
                    self.end_in(state);
                    self.reader.wake();
                    return;
                }
                Poll::Pending => {
                    self.watch(state);
                    return;
                }
            }
        }
    }

    /// Everything was taken: tells who waits for that, and asks the store where it has more for the client.
    fn emptied(self: &Arc<Self>, state: &mut State) {
        if let Some(waits) = state.when_empty.take() {
            // Whoever waited may have given up.
            waits.send(()).ok();
        }
        if state.open
            && state.outbox.catch_up()
            && let Some(ask) = &state.ask_store
        {
            ask();
        }
    }

    /// The transport has taken something. A ping may be behind what still waits, and a client that takes what waits is
    /// alive: so a pong is said for it.
    fn goes_on(&self, state: &mut State) {
        if !state.want_room.is_empty() && state.outbox.has_room() {
            state.want_room.drain(..).for_each(Waker::wake);
        }
        if state.outbox.is_empty() && !state.watched {
            return;
        }
        let now = Instant::now();
        state.progress = Some(now);
        if state.alive.is_none_or(|alive| now - alive >= ALIVE_EVERY.min(self.lines.patience / 4)) {
            state.alive = Some(now);
            self.say(state, PONG.into());
        }
    }

    /// Says something to the library as the client would.
    fn say(&self, state: &mut State, packet: Cow<'static, str>) {
        match self.polling.get() {
            Some(polling) if matches!(state.link, Link::Polling) => (polling.say)(packet),
            _ if state.unsaid.contains(&packet) => {}
            _ => {
                state.unsaid.push(packet);
                self.reader.wake();
            }
        }
    }

    /// The state, where this membership may be handed something; `None` where it is over, or the transport was closed.
    fn lock_for(&self, membership: u32) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        (!state.closed && !self.has_left(membership)).then_some(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Close for Connection {
    fn close(&self) {
        Self::close(self);
    }
}

/// The system has room for more. Takes no lock: it may be called by whoever holds it.
impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        self.list();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list();
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the session was closed")
}
