//! All users reconnect at once, each with a full queue of 50 events, as after a restart of the server.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::filling::{self, Filled};
use crate::{
    fault::Fault,
    ground::Ground,
    measured::Measured,
    receivers::{Coming, Post, Receivers},
    settings::Settings,
    socket::{Habits, Socket},
    stream::{QUEUE_MOST, drained, rss},
    watch::Watch,
};

/// How long those who are refused come again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A thousand users.
pub fn defaults() -> Settings {
    super::offline::defaults()
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let people = filling::people(ground, settings).await?;
    // They have been here before.
    let visits = (0..people.count() as u32).map(|user| {
        let people = Arc::clone(&people);
        async move {
            let socket = Socket::connect(&ground.door, people.token(user), Habits::default()).await?;
            socket.leave().await;
            Ok::<_, Fault>(())
        }
    });
    stream::iter(visits).buffer_unordered(Coming::ORDERLY.at_once).try_collect::<Vec<()>>().await?;
    let Filled { measured: filling, post, devices } = filling::fill(ground, settings, &people).await?;

    let rss_before = rss(ground);
    let (users, began) = (devices.len(), Instant::now());
    post.count_from(began);
    post.delivery.reset();
    let watch = Watch::begin(Arc::clone(&post) as _, ground.processes.clone(), "storm", None);
    let mut receivers = Receivers::default();
    let coming = Coming { at_once: users, patience: PATIENCE };
    receivers.connect(&post, &ground.door, &people, &devices, coming).await?;
    post.ledger.expect_queued(&receivers.inboxes, QUEUE_MOST);
    drained(&post).await;
    let mut measured = Measured::of(watch.end(), began.elapsed());
    filling::conclude(&mut measured, &post, &receivers, began);
    measured.elapsed = filling.elapsed;
    measured.latency = post.delivery.latency("drain", "the beginning of the storm");
    measured.further = further(&post, filling);
    measured.connections = users;
    measured.users = users;
    let retried = post.retried.load(Relaxed);
    if retried > 0 {
        measured.warnings.push(format!("{retried} connects were refused or failed, and were tried again"));
    }
    measured.rss_before = rss_before;
    measured.rss_connected = rss(ground);
    Ok(measured)
}

fn further(post: &Post, filling: Measured) -> Vec<crate::results::Latency> {
    vec![post.handshake.latency("handshake", "its first byte"), filling.latency]
}
