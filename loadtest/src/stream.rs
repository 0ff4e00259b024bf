//! The course of every scenario in which events flow to receivers: connect, warm up, measure, drain, close the books.
//! Knows nothing of what makes the scenarios different.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::interval;

use crate::{
    attack::{Attack, Deed, Order},
    beside::Beside,
    emit::{Emitting, Letters},
    fault::Fault,
    ground::Ground,
    latency::Recorder,
    measured::Measured,
    people::People,
    pick::Pick,
    receivers::{Coming, Device, Post, Receivers},
    settings::Settings,
    watch::{Gauges, Watch, of_server},
};

/// How long nothing may arrive before what is missing counts as missing.
const SILENCE: Duration = Duration::from_secs(5);
/// How long what is missing may take altogether.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// How often the books are looked at while draining.
const POLL: Duration = Duration::from_millis(5);

/// What makes a scenario what it is.
#[derive(Debug)]
pub struct Shape {
    /// The scenario's name.
    pub name: &'static str,
    /// Who is connected.
    pub devices: Vec<Device>,
    /// Who gets events.
    pub pick: Pick,
    /// Who connects after the clock has stopped, to get what was queued: one device each.
    pub late: Vec<Device>,
    /// How many users there are.
    pub users: usize,
    /// What goes on beside.
    pub beside: Beside,
}

impl Gauges for Post {
    fn accepted(&self) -> u64 {
        self.ledger.accepted()
    }

    fn done(&self) -> u64 {
        self.ledger.arrived()
    }

    fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    fn latency(&self) -> &Recorder {
        &self.delivery
    }
}

/// Lets the scenario happen.
///
/// # Errors
/// Where it cannot be carried out. Events that are missing are no error: they are in the result.
pub async fn run(ground: &Ground, settings: &Settings, shape: Shape) -> Result<Measured, Fault> {
    let people = People::make(ground, shape.users, rand::random()).await?;
    let letters = Letters::new(ground, Arc::clone(&people), settings.payload_bytes, settings.batch)?;
    let post = Post::new(shape.users);
    let rss_before = rss(ground);
    let mut receivers = Receivers::default();
    receivers.connect(&post, &ground.door, &people, &shape.devices, Coming::ORDERLY).await?;
    let rss_connected = rss(ground);

    let beside = shape.beside.begin(ground, &people)?;
    let emitting = Emitting::new(letters, Arc::clone(&post), shape.pick, settings.batch);
    let order = order(ground, settings);
    if !settings.warmup.is_zero() {
        let warmup = Order { duration: settings.warmup, reports: Vec::new(), ..order.clone() };
        Attack::new(warmup, Arc::clone(&emitting) as Arc<dyn Deed>).carry_out().await?;
        drained(&post).await;
    }
    post.begin();
    let counts_from = Instant::now();
    let attack = Attack::new(order, emitting);
    let redis_before = ground.redis_cpu_s().await;
    let watching =
        tokio::spawn(watch(Arc::clone(&attack), Arc::clone(&post) as _, ground.processes.clone(), shape.name));
    attack.carry_out().await?;
    drained(&post).await;
    let (begun, watch) = watching.await.map_err(|error| Fault::Nothing(error.to_string()))?;
    let sight = watch.end();
    if !ground.still_runs().await {
        return Err(Fault::ServerEnded(ground.output()));
    }
    let redis_used = redis_before.zip(ground.redis_cpu_s().await).map(|(before, after)| after - before);
    let arrived = Duration::from_micros(post.ledger.last_arrival_us()).saturating_sub(begun - post.origin);
    let elapsed = attack.took().max(arrived);
    let mut measured = Measured::of(sight, elapsed);
    measured.latency = post.delivery.latency("delivery", from(settings));
    measured.further.push(attack.acts.latency("emit", from(settings)));
    measured.counts = post.ledger.close(&receivers.inboxes);
    if let Some(used) = redis_used.filter(|_| measured.counts.delivered > 0) {
        let each = used * 100_000.0 / measured.counts.delivered as f64;
        measured.notes.push(("redis CPU for 100,000 deliveries".to_owned(), format!("{each:.2} s")));
    }
    if !shape.late.is_empty() {
        let mut latecomers = Receivers::default();
        latecomers.connect(&post, &ground.door, &people, &shape.late, Coming::ORDERLY).await?;
        post.ledger.expect_queued(&latecomers.inboxes, QUEUE_MOST);
        drained(&post).await;
        let late = post.ledger.close_capped(&latecomers.inboxes, QUEUE_MOST);
        measured.counts.expected += late.expected;
        measured.counts.delivered += late.delivered;
        measured.counts.missing += late.missing;
        measured.counts.duplicated = late.duplicated;
        measured.notes.push((
            "late".to_owned(),
            format!("{} queued events drained by {} users", late.delivered, shape.late.len()),
        ));
    }
    measured.beside = beside.end();
    measured.beside.extend(receivers.told(&post, counts_from.elapsed()));
    measured.connections = shape.devices.len();
    measured.users = shape.users;
    measured.rss_before = rss_before;
    measured.rss_connected = rss_connected;
    if attack.given_up() > 0 {
        let (gone, rate) = (attack.given_up() * settings.batch as u64, settings.rate.unwrap_or_default());
        measured.failures.push(format!("the rate of {rate:.0}/s was not kept: {gone} events were due and never sent"));
    }
    let lost = post.lost.load(Relaxed);
    if lost > 0 {
        measured.warnings.push(format!("the server has closed {lost} connections of receivers that read"));
    }
    Ok(measured)
}

/// How goose's users are to emit.
pub fn order(ground: &Ground, settings: &Settings) -> Order {
    Order {
        address: ground.address.clone(),
        hands: settings.emitters,
        rate: settings.rate.map(|rate| rate / settings.batch as f64),
        duration: settings.duration,
        most: u64::MAX,
        reports: settings.goose_reports.clone(),
    }
}

/// Begins to watch when the attack's clock starts.
pub async fn watch(
    attack: Arc<Attack>,
    gauges: Arc<dyn Gauges>,
    server: Vec<u32>,
    name: &'static str,
) -> (Instant, Watch) {
    let begun = attack.begun().await;
    (begun, Watch::begin(gauges, server, name, attack.length()))
}

/// The most events that a queue holds (SPEC 5).
pub const QUEUE_MOST: u64 = 50;

/// Waits until everything has arrived, or nothing has for a while.
pub async fn drained(post: &Post) {
    let began = Instant::now();
    let mut last = (post.ledger.arrived(), began);
    let mut poll = interval(POLL);
    while !post.ledger.is_complete() && last.1.elapsed() < SILENCE && began.elapsed() < DRAIN_LIMIT {
        poll.tick().await;
        let arrived = post.ledger.arrived();
        if arrived != last.0 {
            last = (arrived, Instant::now());
        }
    }
}

/// The server's memory now.
pub fn rss(ground: &Ground) -> Option<u64> {
    of_server(&ground.processes).map(|usage| usage.rss_bytes)
}

fn from(settings: &Settings) -> &'static str {
    if settings.rate.is_some() { "the intended send time" } else { "the send" }
}
