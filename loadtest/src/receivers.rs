//! The pool of receivers: thousands of light clients that note what arrives and how late. Knows nothing of who emits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    http::Address,
    latency::{Recorder, Shard, micros},
    ledger::{Inbox, Ledger},
    mark::{Mark, find_marks},
    people::People,
    socket::{EVENT, Habits, Socket, SocketError},
    units,
};

/// How receivers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// How many connect at a time.
    pub at_once: usize,
    /// For how long one that is refused tries again, as a real client would.
    pub patience: Duration,
}

impl Coming {
    /// One after the other, about, and whoever is refused ends the run.
    pub const ORDERLY: Self = Self { at_once: 64, patience: Duration::ZERO };
}

/// How long who is refused waits before trying again: as the official client does, twice as long each time, and not all at once.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// Whom a receiver belongs to, and how it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The user's index.
    pub user: u32,
    /// What it does.
    pub manner: Manner,
}

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Receives.
    Plain,
    /// Receives and acknowledges.
    Acknowledging,
    /// Reads no more than so many bytes a second, of 0 none; whether it gets everything is not looked at.
    AtRate(u64),
    /// Receives; whether it gets everything is not looked at.
    Unheeded,
}

/// What the receivers of a run share.
#[derive(Debug)]
pub struct Post {
    /// The books.
    pub ledger: Ledger,
    /// From the intended send time to the arrival, or from [`Post::count_from`].
    pub delivery: Recorder,
    /// From the first byte to the answered CONNECT.
    pub handshake: Recorder,
    /// Where it is not 0: from when latencies count, whenever the events were sent.
    from_us: AtomicU64,
    /// The beginning of the run's clock.
    pub origin: Instant,
    /// Connections that are open.
    pub open: AtomicU64,
    /// Connections that the server has closed or that broke.
    pub lost: AtomicU64,
    /// Connects that were refused or failed, and were tried again.
    pub retried: AtomicU64,
    /// Bytes that those have read who read slowly.
    pub slowly_read: AtomicU64,
    /// Connections of theirs that the server has closed.
    pub slow_lost: AtomicU64,
}

/// Connected receivers; they end with this.
#[derive(Debug, Default)]
pub struct Receivers {
    tasks: JoinSet<()>,
    /// What those have got that have to get everything.
    pub inboxes: Vec<Arc<Inbox>>,
    /// The rates of those that read slowly.
    slow: Vec<u64>,
}

impl Post {
    /// With empty books for `users`.
    pub fn new(users: usize) -> Arc<Self> {
        let (ledger, origin) = (Ledger::new(users), Instant::now());
        let (delivery, handshake) = (Recorder::default(), Recorder::default());
        let [from_us, open, lost, retried, slowly_read, slow_lost] = [const { AtomicU64::new(0) }; 6];
        Arc::new(Self { ledger, delivery, handshake, from_us, origin, open, lost, retried, slowly_read, slow_lost })
    }

    /// Counts anew from now on; what was before was the warm-up.
    pub fn begin(&self) {
        self.ledger.begin();
        self.delivery.reset();
        self.slowly_read.store(0, Relaxed);
    }

    /// From now on latencies count from `moment`: events that have waited in a queue were not late by that.
    pub fn count_from(&self, moment: Instant) {
        self.from_us.store(self.at_us(moment).max(1), Relaxed);
    }

    /// Notes what one read has brought, and empties `marks`.
    fn note(&self, inbox: &Inbox, shard: Shard, marks: &mut Vec<Mark>) {
        if marks.is_empty() {
            return;
        }
        let now_us = self.at_us(Instant::now());
        self.ledger.arrive(inbox, marks, now_us);
        let from_us = Some(self.from_us.load(Relaxed)).filter(|from_us| *from_us > 0);
        let late = |mark: &Mark| now_us.saturating_sub(from_us.unwrap_or(mark.at_us));
        self.delivery.record_all(shard, marks.iter().map(late));
        marks.clear();
    }

    /// A moment by the run's clock.
    pub fn at_us(&self, moment: Instant) -> u64 {
        micros(moment.saturating_duration_since(self.origin))
    }
}

impl Receivers {
    /// Connects further receivers; returns once all are connected.
    ///
    /// # Errors
    /// Where one cannot connect.
    pub async fn connect(
        &mut self,
        post: &Arc<Post>,
        address: &Address,
        people: &Arc<People>,
        devices: &[Device],
        coming: Coming,
    ) -> Result<(), SocketError> {
        let mut waiting = Vec::with_capacity(coming.at_once);
        for device in devices {
            let counts = matches!(device.manner, Manner::Plain | Manner::Acknowledging);
            let inbox = counts.then(|| post.ledger.open_inbox(device.user));
            self.inboxes.extend(inbox.clone());
            self.slow.extend(match device.manner {
                Manner::AtRate(bytes_per_s) => Some(bytes_per_s),
                _ => None,
            });
            let (ready, connected) = oneshot::channel();
            let (token, manner) = (people.token(device.user).to_owned(), device.manner);
            let way = Way { address: address.clone(), token, manner };
            self.tasks.spawn(live(Arc::clone(post), way, coming.patience, inbox, ready));
            waiting.push(connected);
            if waiting.len() == coming.at_once {
                settle(&mut waiting).await?;
            }
        }
        settle(&mut waiting).await
    }

    /// What there is to tell of those that read slowly, after this time.
    pub fn told(&self, post: &Post, after: Duration) -> Option<String> {
        let reading = self.slow.iter().filter(|bytes_per_s| **bytes_per_s > 0).count();
        let each = post.slowly_read.load(Relaxed) as f64 / after.as_secs_f64().max(1e-6) / reading.max(1) as f64;
        let lost = post.slow_lost.load(Relaxed);
        (reading > 0).then(|| format!("they read {} each, {lost} were closed by the server", units::byte_rate(each)))
    }
}

async fn settle(waiting: &mut Vec<oneshot::Receiver<Result<(), SocketError>>>) -> Result<(), SocketError> {
    for connected in waiting.drain(..) {
        connected.await.unwrap_or(Err(SocketError::Closed))?;
    }
    Ok(())
}

/// How one receiver connects.
struct Way {
    address: Address,
    token: String,
    manner: Manner,
}

impl Way {
    async fn connect(self, post: &Post, patience: Duration) -> Result<Socket, SocketError> {
        let (began, mut pause) = (Instant::now(), PAUSE_FIRST);
        let habits = Habits {
            acknowledges: self.manner == Manner::Acknowledging,
            receive_buffer: match self.manner {
                Manner::AtRate(bytes_per_s) => Some(buffer(bytes_per_s)),
                _ => None,
            },
        };
        loop {
            match Socket::connect(&self.address, &self.token, habits).await {
                Ok(socket) => {
                    post.handshake.record(post.handshake.shard(), micros(began.elapsed()));
                    return Ok(socket);
                }
                Err(error) if began.elapsed() >= patience => return Err(error),
                Err(_) => {
                    post.retried.fetch_add(1, Relaxed);
                    sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
                    pause = (pause * 2).min(PAUSE_MOST);
                }
            }
        }
    }
}

/// The life of one receiver.
async fn live(
    post: Arc<Post>,
    way: Way,
    patience: Duration,
    inbox: Option<Arc<Inbox>>,
    ready: oneshot::Sender<Result<(), SocketError>>,
) {
    let manner = way.manner;
    let socket = match way.connect(&post, patience).await {
        Ok(socket) => socket,
        Err(error) => return drop(ready.send(Err(error))),
    };
    post.open.fetch_add(1, Relaxed);
    let _ = ready.send(Ok(()));
    let lost = match (inbox, manner) {
        (Some(inbox), _) => receive(socket, &post, &inbox).await,
        (None, Manner::AtRate(bytes_per_s)) => read_slowly(socket, bytes_per_s, &post).await,
        (None, _) => pass_over(socket, &post).await,
    };
    post.open.fetch_sub(1, Relaxed);
    lost.fetch_add(1, Relaxed);
}

/// How often a slow receiver reads.
const SLOW_READS: Duration = Duration::from_millis(20);

/// The receive buffer of a slow receiver: small, and large enough for what it reads at a time.
fn buffer(bytes_per_s: u64) -> u32 {
    (bytes_per_s / 10).clamp(4_096, 1 << 20) as u32
}

/// Reads so many bytes a second, whatever there is; returns the count of connections that end so.
async fn read_slowly(mut socket: Socket, bytes_per_s: u64, post: &Post) -> &AtomicU64 {
    if bytes_per_s == 0 {
        let _held = socket;
        return std::future::pending().await;
    }
    let share = (bytes_per_s as f64 * SLOW_READS.as_secs_f64()).max(1.0) as usize;
    let mut times = interval(SLOW_READS);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        match socket.read(share, |_| {}).await {
            Ok(read) => post.slowly_read.fetch_add(read as u64, Relaxed),
            Err(_) => return &post.slow_lost,
        };
    }
}

/// Reads, and looks at nothing.
async fn pass_over(mut socket: Socket, post: &Post) -> &AtomicU64 {
    while socket.read(usize::MAX, |_| {}).await.is_ok() {}
    &post.lost
}

async fn receive<'a>(mut socket: Socket, post: &'a Post, inbox: &Inbox) -> &'a AtomicU64 {
    let shard = post.delivery.shard();
    let mut marks = Vec::new();
    loop {
        let read = socket.read(usize::MAX, |packet| {
            if packet.starts_with(EVENT) {
                find_marks(packet, |mark| marks.push(mark));
            }
        });
        let read = read.await;
        post.note(inbox, shard, &mut marks);
        if read.is_err() {
            return &post.lost;
        }
    }
}
