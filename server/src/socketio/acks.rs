//! What one client was asked to acknowledge: gives the ids, notes the answers, takes from the store what was acknowledged, and
//! closes the connection where an answer does not come in time. Knows nothing of rooms or of the library.

use std::{
    collections::VecDeque,
    sync::{
        Arc, MutexGuard, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::connection::Connection;
use crate::{
    counts::COUNTS,
    model::{EntryId, Queue},
    mutex::Mutex,
    notifications::User,
};

/// How long to wait before the store is asked again to remove what was acknowledged.
const RETRY: Duration = Duration::from_secs(1);

/// The slowest line that the time to acknowledge allows for (SLOW-06), and how much may be on its way through one: what the
/// system has taken and the client has not read.
const SLOWEST_BYTES_PER_SECOND: usize = 16 * 1024;
const ON_ITS_WAY_BYTES: usize = 256 * 1024;

/// How many acknowledging clients are here, so that where there are none nobody need look.
#[derive(Clone, Default)]
pub(crate) struct Acknowledging(Arc<AtomicUsize>);

impl Acknowledging {
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::SeqCst);
        Present(self.clone())
    }
}

struct Present(Acknowledging);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is needed to wait for acknowledgements.
#[derive(Clone)]
pub(crate) struct AckSetup {
    pub(crate) queue: Arc<dyn Queue>,
    /// How long a client may take (ACK-09).
    pub(crate) timeout: Duration,
    pub(crate) acknowledging: Acknowledging,
}

/// The acknowledgements of one client. Cheap to clone. Its task ends when the client has gone and the store was told.
#[derive(Clone)]
pub(crate) struct AckTracker(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    timeout: Duration,
}

struct State {
    /// The id of the first that is pending.
    first: u64,
    pending: VecDeque<Pending>,
    /// How many of them are not acknowledged.
    unanswered: usize,
    /// What was acknowledged and is still in the store, and how many lost events were told with it.
    done: Vec<EntryId>,
    told: u64,
    /// When the slowest line would have brought everything that was sent.
    arrives: Instant,
    /// Whether the task sleeps without a limit of its own.
    idle: bool,
    /// Until the client has gone.
    present: Option<Present>,
}

struct Pending {
    entries: Vec<EntryId>,
    told: u64,
    /// By when it has to be acknowledged, once it was sent.
    due: Option<Instant>,
    /// When it was handed over.
    handed: Instant,
    acknowledged: bool,
}

impl AckTracker {
    /// Begins to wait for what a client acknowledges.
    pub(crate) fn start(user: Arc<User>, setup: &AckSetup, connection: &Arc<Connection>) -> Self {
        let state = State {
            first: 1,
            pending: VecDeque::new(),
            unanswered: 0,
            done: Vec::new(),
            told: 0,
            arrives: Instant::now(),
            idle: true,
            present: Some(setup.acknowledging.enter()),
        };
        let inner = Inner { state: Mutex::new(state), changed: Notify::new(), timeout: setup.timeout };
        let tracker = Self(Arc::new(inner));
        tokio::spawn(run(tracker.clone(), user, setup.queue.clone(), Arc::downgrade(connection)));
        tracker
    }

    /// These entries are to be removed, and `told` taken from the count of what was lost, once this id is acknowledged.
    pub(crate) fn expect(&self, entries: Vec<EntryId>, told: u64) -> u64 {
        let mut state = self.lock();
        state.pending.push_back(Pending { entries, told, due: None, handed: Instant::now(), acknowledged: false });
        state.unanswered += 1;
        state.first + state.pending.len() as u64 - 1
    }

    /// The last one was not handed over after all.
    pub(crate) fn retract(&self) {
        let mut state = self.lock();
        state.pending.pop_back();
        state.unanswered -= 1;
    }

    /// How much was handed over and not acknowledged.
    pub(crate) fn unanswered(&self) -> usize {
        self.lock().unanswered
    }

    /// Whether a count of what was lost was told and is not acknowledged.
    pub(crate) fn has_told(&self) -> bool {
        self.lock().pending.iter().any(|pending| pending.told > 0 && !pending.acknowledged)
    }

    /// It was sent: from now on the time counts, and what a slow line needs for it beside.
    pub(super) fn sent(&self, id: u64, bytes: usize) {
        let mut state = self.lock();
        let now = Instant::now();
        let needs = Duration::from_secs_f64(bytes as f64 / SLOWEST_BYTES_PER_SECOND as f64);
        let longest = Duration::from_secs((ON_ITS_WAY_BYTES / SLOWEST_BYTES_PER_SECOND) as u64);
        state.arrives = (state.arrives.max(now) + needs).min(now + longest);
        let due = state.arrives + self.0.timeout;
        let place = id.checked_sub(state.first).and_then(|place| usize::try_from(place).ok());
        if let Some(pending) = place.and_then(|place| state.pending.get_mut(place)) {
            pending.due = Some(due);
            COUNTS.handing_over.observe(now - pending.handed);
        }
        if std::mem::take(&mut state.idle) {
            self.0.changed.notify_one();
        }
    }

    /// The client has acknowledged this id. What it was not asked for changes nothing.
    pub(super) fn acknowledged(&self, id: u64) {
        let mut state = self.lock();
        let Some(place) = id.checked_sub(state.first).and_then(|place| usize::try_from(place).ok()) else { return };
        let Some(pending) = state.pending.get_mut(place).filter(|pending| !pending.acknowledged) else { return };
        pending.acknowledged = true;
        COUNTS.acknowledged.add(pending.entries.len() as u64);
        COUNTS.dropped.add(pending.told);
        let (mut entries, told) = (std::mem::take(&mut pending.entries), pending.told);
        state.done.append(&mut entries);
        state.told += told;
        state.unanswered -= 1;
        while state.pending.front().is_some_and(|pending| pending.acknowledged) {
            state.pending.pop_front();
            state.first += 1;
        }
        state.idle = false;
        self.0.changed.notify_one();
    }

    /// The client has gone. What it has acknowledged is still removed.
    pub(super) fn end(&self) {
        self.lock().present = None;
        self.0.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// What is to be removed, and by when the oldest of the others has to be acknowledged.
    fn next(&self) -> Next {
        let mut state = self.lock();
        let due = state.pending.front().and_then(|pending| pending.due);
        let here = state.present.is_some();
        let (done, told) = (std::mem::take(&mut state.done), std::mem::take(&mut state.told));
        state.idle = due.is_none();
        Next { done, told, due, here }
    }

    fn put_back(&self, mut done: Vec<EntryId>, told: u64) {
        let mut state = self.lock();
        done.append(&mut state.done);
        state.done = done;
        state.told += told;
    }
}

struct Next {
    done: Vec<EntryId>,
    told: u64,
    due: Option<Instant>,
    here: bool,
}

async fn run(tracker: AckTracker, user: Arc<User>, queue: Arc<dyn Queue>, connection: Weak<Connection>) {
    loop {
        // Before the look, so that what happens in between is noticed.
        let changed = tracker.0.changed.notified();
        let Next { done, told, due, here } = tracker.next();
        if !done.is_empty() || told > 0 {
            match queue.confirm(&user.id, &done, told).await {
                Ok(()) => {
                    if let Some(connection) = connection.upgrade() {
                        // There is room for more now.
                        connection.look_whether_caught_up();
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, events = done.len(), "what was acknowledged could not be removed yet");
                    if !here {
                        // It comes again, under the same ids.
                        return;
                    }
                    tracker.put_back(done, told);
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if !here {
            return;
        }
        match due {
            None => changed.await,
            Some(due) if due <= Instant::now() => {
                tracing::debug!("a client that does not acknowledge is closed");
                COUNTS.unacknowledged_closes.add(1);
                if let Some(connection) = connection.upgrade() {
                    connection.close();
                }
                // Until it has gone.
                changed.await;
            }
            Some(due) => {
                tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                }
            }
        }
    }
}
