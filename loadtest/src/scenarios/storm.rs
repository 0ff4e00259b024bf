//! All users come back at once, and each drains what was queued for them: after a fall of the network, or of the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    emit::Letters,
    fault::Fault,
    ground::Ground,
    http::Http,
    latency::{Recorder, micros},
    ledger::Inbox,
    mark::marks,
    measured::Measured,
    people::People,
    receivers::Post,
    settings::Settings,
    socket::Socket,
    stream::{QUEUE_MOST, drained, rss},
    watch::Watch,
};

/// A thousand users, each with a full queue.
pub fn defaults() -> Settings {
    Settings { batch: QUEUE_MOST as usize, emitters: 8, warmup: Duration::ZERO, ..Settings::default() }
}

/// What those who come back share.
#[derive(Debug)]
struct Storm {
    post: Arc<Post>,
    /// From the beginning of the storm until the connect is answered.
    connects: Recorder,
    made: AtomicU64,
    failed: AtomicU64,
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out. Events that are missing are no error: they are in the result.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let users = settings.connections;
    let people = People::make(ground, users, rand::random()).await?;
    let letters = Letters::new(ground, Arc::clone(&people), settings.payload_bytes, settings.batch)?;
    let post = Post::new(users);
    fill(ground, settings, &letters, &post).await;
    let rss_before = rss(ground);

    let (connects, made, failed) = (Recorder::default(), AtomicU64::new(0), AtomicU64::new(0));
    let storm = Arc::new(Storm { post: Arc::clone(&post), connects, made, failed });
    let begin = watch::Sender::new(None);
    let mut clients = JoinSet::new();
    let mut inboxes = Vec::with_capacity(users);
    for user in 0..users as u32 {
        let inbox = post.ledger.open_inbox(user);
        inboxes.push(Arc::clone(&inbox));
        let (token, address) = (people.token(user).to_owned(), ground.address.clone());
        let (storm, mut begin) = (Arc::clone(&storm), begin.subscribe());
        clients.spawn(async move {
            let Some(begun) = begin.wait_for(Option::is_some).await.ok().and_then(|begun| *begun) else { return };
            match Socket::connect(&address, &token, false).await {
                Ok(socket) => storm.drain(socket, &inbox, begun).await,
                Err(_) => drop(storm.failed.fetch_add(1, Relaxed)),
            }
        });
    }
    post.ledger.expect_queued(&inboxes, QUEUE_MOST);
    let watch = Watch::begin(Arc::clone(&post) as _, ground.process, "storm", settings.duration);
    let begun = Instant::now();
    begin.send_replace(Some(begun));
    drained(&post).await;
    let sight = watch.end();
    if !ground.still_runs().await {
        return Err(Fault::ServerEnded(ground.output()));
    }
    let last = post.origin + Duration::from_micros(post.ledger.last_arrival_us());
    let mut measured = Measured::of(sight, last.saturating_duration_since(begun));
    measured.latency = post.delivery.latency("delivery", "the beginning of the storm");
    measured.further.push(storm.connects.latency("handshake", "the beginning of the storm"));
    measured.counts = post.ledger.close_capped(&inboxes, QUEUE_MOST);
    measured.counts.handshakes = storm.made.load(Relaxed);
    measured.counts.failed_handshakes = storm.failed.load(Relaxed);
    measured.connections = users;
    measured.rss_before = rss_before;
    measured.notes.push(("queued".to_owned(), format!("{QUEUE_MOST} events for each user, before the clock started")));
    Ok(measured)
}

/// Fills every user's queue; nobody is connected.
async fn fill(ground: &Ground, settings: &Settings, letters: &Letters, post: &Arc<Post>) {
    let batch = settings.batch.min(QUEUE_MOST as usize);
    let share = |emitter: usize| async move {
        let mut http = Http::new(ground.address.clone());
        for user in (emitter..settings.connections).step_by(settings.emitters) {
            for first in (0..QUEUE_MOST as usize).step_by(batch) {
                let number = batch.min(QUEUE_MOST as usize - first);
                let now_us = post.at_us(Instant::now());
                let marks: Vec<_> = (0..number).map(|_| post.ledger.send(user as u32, now_us)).collect();
                letters.send(&mut http, &marks, &post.ledger).await;
            }
        }
    };
    stream::iter((0..settings.emitters).map(share)).buffer_unordered(settings.emitters).collect::<Vec<()>>().await;
}

impl Storm {
    /// Notes what comes, until the connection is gone.
    async fn drain(&self, mut socket: Socket, inbox: &Inbox, begun: Instant) {
        let (connect, delivery) = (self.connects.shard(), self.post.delivery.shard());
        self.connects.record(connect, micros(begun.elapsed()));
        self.made.fetch_add(1, Relaxed);
        self.post.open.fetch_add(1, Relaxed);
        while let Ok(packet) = socket.receive().await {
            let now = Instant::now();
            for mark in marks(&packet) {
                if self.post.ledger.arrive(inbox, mark, self.post.at_us(now)) {
                    self.post.delivery.record(delivery, micros(now - begun));
                }
            }
        }
        self.post.open.fetch_sub(1, Relaxed);
        self.post.lost.fetch_add(1, Relaxed);
    }
}
