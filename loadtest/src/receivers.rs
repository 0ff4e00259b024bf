//! The pool of receivers: thousands of light clients that note what arrives and how late. Knows nothing of who emits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet, time::sleep};

use crate::{
    http::Address,
    latency::{Recorder, Shard, micros},
    ledger::{Inbox, Ledger},
    mark::{Mark, find_marks},
    people::People,
    socket::{EVENT, Socket, SocketError},
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
    /// Connects, and never reads again.
    Stalled,
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
}

/// Connected receivers; they end with this.
#[derive(Debug, Default)]
pub struct Receivers {
    tasks: JoinSet<()>,
    /// What those have got that have to get everything.
    pub inboxes: Vec<Arc<Inbox>>,
}

impl Post {
    /// With empty books for `users`.
    pub fn new(users: usize) -> Arc<Self> {
        let (ledger, origin) = (Ledger::new(users), Instant::now());
        let (open, lost, retried) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let (delivery, handshake, from_us) = (Recorder::default(), Recorder::default(), AtomicU64::new(0));
        Arc::new(Self { ledger, delivery, handshake, from_us, origin, open, lost, retried })
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
            let inbox = (device.manner != Manner::Stalled).then(|| post.ledger.open_inbox(device.user));
            self.inboxes.extend(inbox.clone());
            let (ready, connected) = oneshot::channel();
            let acks = device.manner == Manner::Acknowledging;
            let way = Way { address: address.clone(), token: people.token(device.user).to_owned(), acks };
            self.tasks.spawn(live(Arc::clone(post), way, coming.patience, inbox, ready));
            waiting.push(connected);
            if waiting.len() == coming.at_once {
                settle(&mut waiting).await?;
            }
        }
        settle(&mut waiting).await
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
    acks: bool,
}

impl Way {
    async fn connect(self, post: &Post, patience: Duration) -> Result<Socket, SocketError> {
        let (began, mut pause) = (Instant::now(), PAUSE_FIRST);
        loop {
            match Socket::connect(&self.address, &self.token, self.acks).await {
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
    let socket = match way.connect(&post, patience).await {
        Ok(socket) => socket,
        Err(error) => return drop(ready.send(Err(error))),
    };
    post.open.fetch_add(1, Relaxed);
    let _ = ready.send(Ok(()));
    match inbox {
        Some(inbox) => receive(socket, &post, &inbox).await,
        None => stall(socket).await,
    }
    post.open.fetch_sub(1, Relaxed);
    post.lost.fetch_add(1, Relaxed);
}

/// Holds the connection and never reads.
async fn stall(socket: Socket) {
    let _held = socket;
    std::future::pending().await
}

async fn receive(mut socket: Socket, post: &Post, inbox: &Inbox) {
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
            return;
        }
    }
}
