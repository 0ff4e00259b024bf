//! One Engine.IO session, whatever transport it uses: what it was handed, what its transport has taken, whether that goes on,
//! and how it is closed. Knows nothing of users, rooms or stores.
//!
//! Events go beneath the library: a frame that was written once for all is written to the stream of a WebSocket between two frames
//! of the library's, or goes into the answer to a poll, behind what the library puts there. Under one lock, so that
//! what was taken is a fact and no conclusion.

use std::{
    borrow::Cow,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    LEAVING_PACKET,
    acks::AckTracker,
    early::Early,
    flusher::Flusher,
    follower::{Follower, Passed},
    membership::{Connect, Memberships},
    outbox::{Handed, Outbox, Shared},
    sessions::Listing,
};
use crate::{
    frame::Frame,
    gate::{Gate, Rate, Reason},
    grants::Close,
    model::Outgoing,
    notifications::Haste,
};

/// How much of what the library says is kept while the client takes nothing: enough for all the packets that it keeps itself.
const LIBRARY_BYTES: usize = 16 * 1024;

/// How many pieces one write takes.
const AT_ONCE: usize = 64;

/// How often a client that takes what waits for it counts as one that has answered a ping, which is somewhere behind that.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How a client answers a ping.
const PONG: &str = "3";

/// How a client comes in; whoever answers looks elsewhere for what goes with it.
const CONNECT_PACKET: &str = "40/notifications,";

/// When a CONNECT is said again that the library does not seem to have heard.
const SAYS_AGAIN: Duration = Duration::from_millis(50);

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

    // What the client says.

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
    fn depart(&self) {
        self.departed.store(true, Ordering::SeqCst);
        self.memberships.wake();
    }

    /// Notes that the client is done: it says goodbye or breaks the protocol, or its line has ended.
    pub(super) fn end(&self) {
        self.end_in(&mut self.lock());
    }

    /// Of what waits nothing goes out from here on, for it would count as sent. And the library, which tells that a session is over only
    /// when it has written whatever it has to say, is not held up by a packet that nobody takes.
    fn end_in(&self, state: &mut State) {
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
    pub(super) fn expects_attachments(&self, attachments: u16) {
        self.attachments.store(attachments, Ordering::SeqCst);
    }

    /// Notes an attachment; whether one was to come.
    pub(super) fn takes_attachment(&self) -> bool {
        self.attachments.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |due| due.checked_sub(1)).is_ok()
    }

    /// Notes an event; whether it may send one.
    pub(super) fn may_send_event(&self) -> bool {
        self.events.allows(self.lines.gate.bounds.events_per_second, Instant::now())
    }

    /// Notes a fresh token. Where it was one too many, the client is closed.
    pub(super) fn may_refresh(&self) -> bool {
        let may = self.refreshes.allows(self.lines.gate.bounds.refreshes_per_second, Instant::now());
        if !may {
            self.refused(Reason::Rate);
            self.close();
        }
        may
    }

    /// Counts that the client is refused something.
    pub(super) fn refused(&self, reason: Reason) {
        self.lines.gate.refused.note(reason);
    }

    /// Notes an acknowledgement.
    pub(super) fn acknowledged(&self, id: u64) {
        let acks = self.lock().acks.clone();
        if let Some(acks) = acks {
            acks.acknowledged(id);
        }
    }

    // What is handed over.

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
        if state.alive.is_none_or(|alive| now - alive >= ALIVE_EVERY) {
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

    /// Sees to it that somebody looks whether what waits is taken.
    fn watch(self: &Arc<Self>, state: &mut State) {
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

    // The end.

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
    pub(super) fn evict(&self) {
        self.evicted.store(true, Ordering::SeqCst);
        let polls = matches!(self.lock().link, Link::Polling);
        match self.polling.get() {
            Some(polling) if polls => (polling.say)(LEAVING_PACKET.into()),
            _ => self.reader.wake(),
        }
    }

    /// Whether it was sent away, so that nothing it may still be sent is worth waiting for.
    pub(super) fn was_evicted(&self) -> bool {
        self.evicted.load(Ordering::SeqCst)
    }

    /// Completes when it was closed from here. Only before a stream is attached.
    pub(super) async fn closed(&self) {
        poll_fn(|cx| self.poll_closed(cx).map(drop)).await;
    }

    /// Fails when it was closed from here. For whoever reads.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
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
    pub(super) fn was_closed(&self) -> bool {
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

    // The stream of a WebSocket, as the library sees it.

    /// From now on the client is reached by this stream.
    pub(super) fn attach(self: &Arc<Self>, stream: Box<dyn Stream>, follower: Follower) {
        let mut state = self.lock();
        state.link = Link::WebSocket(stream);
        state.follower = follower;
        state.upgrading = false;
        if !state.outbox.is_empty() {
            self.list();
        }
    }

    /// The library has let go of the stream.
    pub(super) fn detach(&self) -> Option<Box<dyn Stream>> {
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
    pub(super) fn read(
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
    pub(super) fn write(self: &Arc<Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
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
    fn note(&self, state: &mut State, passed: Passed) {
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
    pub(super) fn with_stream<T>(
        &self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut Box<dyn Stream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.lock().link {
            Link::WebSocket(stream) => act(Pin::new(stream), cx),
            Link::Polling | Link::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    // Polling.

    pub(super) fn is_polling(&self, session: PollingSession) {
        self.polling.set(session).ok();
    }

    fn wake_poll(self: &Arc<Self>, state: &mut State) {
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
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let has_events = matches!(state.link, Link::Polling) && state.open && state.outbox.has_packets();
        if has_events || state.release_poll || state.closed {
            return Poll::Ready(());
        }
        state.poll = Some(cx.waker().clone());
        Poll::Pending
    }

    /// An answer was not taken to its end: what the client misses cannot be put in its place any more.
    pub(super) fn abort_answer(&self) {
        self.lock().answering = false;
        self.close();
    }

    /// Begins the answer to a poll with what the library has to say: how many packets of ours follow, and how many bytes.
    pub(super) fn begin_answer(&self, packets: &[u8]) -> (usize, usize) {
        let mut state = self.lock();
        for packet in packets.split(|byte| *byte == super::outbox::SEPARATOR) {
            let passed = Passed::of(packet);
            self.note(&mut state, passed);
        }
        state.release_poll = false;
        state.poll = None;
        state.progress = Some(Instant::now());
        if !matches!(state.link, Link::Polling) || !state.open || state.closed {
            return (0, 0);
        }
        let (count, bytes) = state.outbox.packets();
        state.answering = count > 0;
        (count, bytes)
    }

    /// Whether an answer with events is on its way, so that there can be no other poll.
    pub(super) fn is_answering(&self) -> bool {
        self.lock().answering
    }

    /// The next bytes of an answer that has so many packets to come; none where the session was closed, for then they were taken back.
    pub(super) fn answer(self: &Arc<Self>, left: &mut usize, most: usize) -> Option<axum::body::Bytes> {
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
    pub(super) fn answer_sent(self: &Arc<Self>) {
        self.note_answer_sent(&mut self.lock());
    }

    /// Writes what an answer ends with, or a part of that; nothing where what it carries was taken back. Under the lock: a client
    /// that has read it and leaves at once must not be ahead of the note.
    pub(super) fn end_answer(
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

    // Upgrades.

    /// Begins an upgrade; false where there is one already, or was.
    pub(super) fn begin_upgrade(&self) -> bool {
        let mut state = self.lock();
        let may = matches!(state.link, Link::Polling) && !state.upgrading && !state.closed;
        state.upgrading |= may;
        may
    }

    /// The client has probed the new transport: it waits for the poll that it has sent, if there is one.
    pub(super) fn probed(&self) {
        let mut state = self.lock();
        state.release_poll = true;
        if let Some(poll) = state.poll.take() {
            poll.wake();
        }
    }

    /// The upgrade has come to nothing: everything is as it was.
    pub(super) fn abandon_upgrade(&self) {
        let mut state = self.lock();
        state.upgrading = false;
        state.release_poll = false;
    }

    /// The state, where this membership may be handed something; `None` where it is over, or the transport was closed.
    fn lock_for(&self, membership: u32) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        (!state.closed && !self.has_left(membership)).then_some(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in it can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
