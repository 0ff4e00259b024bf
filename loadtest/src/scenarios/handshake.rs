//! Connect, be let in, leave: over and over. Token and session are verified each time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::time::{interval, timeout};

use crate::{
    attack::{Act, Attack, Deed, Hand, Order},
    fault::Fault,
    ground::Ground,
    http::Address,
    latency::Recorder,
    measured::Measured,
    people::People,
    results::Counts,
    settings::Settings,
    socket::{Habits, Socket},
    stream::{order, rss, watch},
    watch::Gauges,
};

/// How long those that stay may take to leave at the end.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);

/// As many at a time as a small machine takes.
pub fn defaults() -> Settings {
    Settings { connections: 1, emitters: 64, duration: Duration::from_secs(20), ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    connects(ground, settings, "handshake", Duration::ZERO).await
}

/// Connects over and over; each connection stays for `stay`.
pub(super) async fn connects(
    ground: &Ground,
    settings: &Settings,
    name: &'static str,
    stay: Duration,
) -> Result<Measured, Fault> {
    let people = People::make(ground, settings.users, rand::random()).await?;
    let rss_before = rss(ground);
    let order = order(ground, &Settings { batch: 1, ..settings.clone() });
    if !settings.warmup.is_zero() {
        let warmup = Order { duration: settings.warmup, reports: Vec::new(), ..order.clone() };
        let door = Door::new(ground, &people, stay);
        Attack::new(warmup, Arc::clone(&door) as Arc<dyn Deed>).carry_out().await?;
        door.empty().await;
    }
    let door = Door::new(ground, &people, stay);
    let attack = Attack::new(order, Arc::clone(&door) as Arc<dyn Deed>);
    let watching = tokio::spawn(watch(Arc::clone(&attack), Arc::clone(&door) as _, ground.processes.clone(), name));
    attack.carry_out().await?;
    let (_, watch) = watching.await.map_err(|error| Fault::Nothing(error.to_string()))?;
    let sight = watch.end();
    door.empty().await;
    let mut measured = Measured::of(sight, attack.took());
    let from = if settings.rate.is_some() { "the intended time" } else { "the first byte" };
    measured.latency = door.times.latency("handshake", from);
    measured.counts = Counts {
        handshakes: door.made.load(Relaxed),
        failed_handshakes: door.failed.load(Relaxed),
        ..Counts::default()
    };
    measured.users = settings.users;
    measured.rss_before = rss_before;
    if attack.given_up() > 0 {
        let gone = attack.given_up();
        measured.failures.push(format!("the rate was not kept: {gone} connects were due and never begun"));
    }
    Ok(measured)
}

/// Where people come in and leave.
struct Door {
    address: Address,
    people: Arc<People>,
    stay: Duration,
    times: Recorder,
    next: AtomicU64,
    made: AtomicU64,
    failed: AtomicU64,
    open: AtomicU64,
}

impl Door {
    fn new(ground: &Ground, people: &Arc<People>, stay: Duration) -> Arc<Self> {
        Arc::new(Self {
            address: ground.door.clone(),
            people: Arc::clone(people),
            stay,
            times: Recorder::default(),
            next: AtomicU64::new(0),
            made: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            open: AtomicU64::new(0),
        })
    }

    /// Waits until everybody has left.
    async fn empty(&self) {
        let mut poll = interval(Duration::from_millis(10));
        let left = async {
            while self.open.load(Relaxed) > 0 {
                poll.tick().await;
            }
        };
        // Who cannot leave is seen by the count of open connections.
        let _ = timeout(LEAVE_LIMIT + self.stay, left).await;
    }
}

impl Gauges for Door {
    fn accepted(&self) -> u64 {
        0
    }

    fn done(&self) -> u64 {
        self.made.load(Relaxed)
    }

    fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    fn latency(&self) -> &Recorder {
        &self.times
    }
}

impl Deed for Door {
    fn name(&self) -> (&str, &str) {
        ("CONNECT", "/notifications")
    }

    fn hand(self: Arc<Self>) -> Box<dyn Hand> {
        Box::new(Visitor(self))
    }
}

struct Visitor(Arc<Door>);

impl Hand for Visitor {
    fn act(&mut self, intended: Instant) -> BoxFuture<'_, Act> {
        Box::pin(async move {
            let door = &self.0;
            let user = door.next.fetch_add(1, Relaxed) % door.people.count() as u64;
            let made = Socket::connect(&door.address, door.people.token(user as u32), Habits::default()).await;
            let took = intended.elapsed();
            let Ok(socket) = made else {
                door.failed.fetch_add(1, Relaxed);
                return Act { took, succeeded: false };
            };
            door.times.record(door.times.shard(), crate::latency::micros(took));
            door.made.fetch_add(1, Relaxed);
            door.open.fetch_add(1, Relaxed);
            let visit = visit(Arc::clone(door), socket);
            if door.stay.is_zero() {
                visit.await;
            } else {
                tokio::spawn(visit);
            }
            Act { took, succeeded: true }
        })
    }
}

async fn visit(door: Arc<Door>, mut socket: Socket) {
    // Pings are answered meanwhile, and whatever comes is read.
    let _ = timeout(door.stay, async { while socket.receive().await.is_ok() {} }).await;
    socket.leave().await;
    door.open.fetch_sub(1, Relaxed);
}
