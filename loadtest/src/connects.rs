//! The course of the scenarios that only connect and leave. Knows nothing of events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    fault::Fault,
    ground::Ground,
    http::Address,
    latency::{Recorder, micros},
    measured::Measured,
    pace::Pace,
    people::People,
    settings::Settings,
    socket::Socket,
    stream::rss,
    watch::{Gauges, Watch},
};

/// What is counted at the door.
#[derive(Debug, Default)]
struct Door {
    made: AtomicU64,
    failed: AtomicU64,
    open: AtomicU64,
    /// Connections that the server closed before they left.
    lost: AtomicU64,
    /// From the intended moment of a connect until it is answered.
    latency: Recorder,
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
        &self.latency
    }
}

impl Door {
    fn begin(&self) {
        [&self.made, &self.failed, &self.lost].into_iter().for_each(|counter| counter.store(0, Relaxed));
        self.latency.reset();
    }
}

/// Those who connect, and how.
#[derive(Debug)]
struct Visitors {
    door: Arc<Door>,
    address: Address,
    people: Arc<People>,
    emitters: usize,
    rate: Option<f64>,
    /// How long each stays.
    stay: Duration,
}

/// Lets users connect, stay for a while and leave, again and again.
///
/// # Errors
/// Where it cannot be carried out. A connect that fails is no error: it is in the result.
pub async fn run(ground: &Ground, settings: &Settings, name: &str, stay: Duration) -> Result<Measured, Fault> {
    let people = People::make(ground, settings.users, rand::random()).await?;
    let door = Arc::new(Door::default());
    let rss_before = rss(ground);
    let visitors = Arc::new(Visitors {
        door: Arc::clone(&door),
        address: ground.address.clone(),
        people,
        emitters: settings.emitters,
        rate: settings.rate,
        stay,
    });
    if !settings.warmup.is_zero() {
        visitors.come(settings.warmup, || ()).await;
        door.begin();
    }
    let mut watch = None;
    let (given_up, elapsed) = visitors
        .come(settings.duration, || {
            let gauges = Arc::clone(&door);
            watch = Some(Watch::begin(gauges, ground.process, name, settings.duration));
        })
        .await;
    let sight = watch.map(Watch::end).unwrap_or_default();
    if !ground.still_runs().await {
        return Err(Fault::ServerEnded(ground.output()));
    }
    let mut measured = Measured::of(sight, elapsed);
    let from = if settings.rate.is_some() { "the intended moment" } else { "the dial" };
    measured.latency = door.latency.latency("handshake", from);
    measured.counts.handshakes = door.made.load(Relaxed);
    measured.counts.failed_handshakes = door.failed.load(Relaxed);
    measured.connections = if stay.is_zero() { settings.emitters } else { settings.connections };
    measured.rss_before = rss_before;
    if given_up > 0 {
        let rate = settings.rate.unwrap_or_default();
        measured
            .failures
            .push(format!("the rate of {rate:.0}/s was not kept: {given_up} connects were due and never tried"));
    }
    let lost = door.lost.load(Relaxed);
    if lost > 0 {
        measured.failures.push(format!("the server closed {lost} connections before they left"));
    }
    Ok(measured)
}

impl Visitors {
    /// Calls `begun` as the clock starts; returns how many connects were given up, and how long the clock ran. Those who
    /// still stay then leave off the clock.
    async fn come(self: &Arc<Self>, duration: Duration, begun: impl FnOnce()) -> (u64, Duration) {
        let over = watch::Sender::new(false);
        begun();
        let begin = Instant::now();
        let pace = self.rate.map(|rate| Pace::start(begin, rate, duration));
        let mut doormen = JoinSet::new();
        for doorman in 0..self.emitters {
            let (visitors, pace, over) = (Arc::clone(self), pace.clone(), over.subscribe());
            doormen.spawn(async move { visitors.keep_coming(doorman, pace, begin + duration, over).await });
        }
        let mut staying = Vec::new();
        while let Some(stays) = doormen.join_next().await {
            staying.extend(stays);
        }
        let elapsed = begin.elapsed();
        over.send_replace(true);
        for mut stays in staying {
            while stays.join_next().await.is_some() {}
        }
        (pace.map_or(0, |pace| pace.given_up()), elapsed)
    }

    /// One after the other, until the end; returns those who have not left yet.
    async fn keep_coming(
        self: Arc<Self>,
        doorman: usize,
        pace: Option<Pace>,
        end: Instant,
        over: watch::Receiver<bool>,
    ) -> JoinSet<()> {
        let shard = self.door.latency.shard();
        let mut staying = JoinSet::new();
        // Each has users of its own, so that no user is connected twice where there are enough of them.
        let mut users = (0..self.people.count() as u32).skip(doorman).step_by(self.emitters).cycle();
        loop {
            let intended = match &pace {
                Some(pace) => pace.next().await,
                None => Some(Instant::now()).filter(|now| *now < end),
            };
            let (Some(intended), Some(user)) = (intended, users.next()) else { return staying };
            let Ok(socket) = Socket::connect(&self.address, self.people.token(user), false).await else {
                self.door.failed.fetch_add(1, Relaxed);
                continue;
            };
            self.door.latency.record(shard, micros(intended.elapsed()));
            self.door.made.fetch_add(1, Relaxed);
            self.door.open.fetch_add(1, Relaxed);
            let visit = Arc::clone(&self).stay(socket, over.clone());
            if self.stay.is_zero() {
                visit.await;
            } else {
                staying.spawn(visit);
                while staying.try_join_next().is_some() {}
            }
        }
    }

    async fn stay(self: Arc<Self>, mut socket: Socket, mut over: watch::Receiver<bool>) {
        if !self.stay.is_zero() {
            let closed = async { while socket.receive().await.is_ok() {} };
            tokio::select! {
                () = sleep(self.stay) => {}
                _ = over.wait_for(|over| *over) => {}
                () = closed => {
                    self.door.lost.fetch_add(1, Relaxed);
                }
            }
        }
        socket.leave().await;
        self.door.open.fetch_sub(1, Relaxed);
    }
}
