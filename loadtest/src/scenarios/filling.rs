//! What `offline` and `storm` share: the queues of all users are filled while nobody is connected.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    attack::{Attack, Order},
    emit::{Emitting, Letters},
    fault::Fault,
    ground::Ground,
    measured::Measured,
    people::People,
    pick::Pick,
    receivers::{Device, Manner, Post, Receivers},
    settings::Settings,
    stream::{QUEUE_MOST, order, rss, watch},
};

/// Full queues.
pub(super) struct Filled {
    /// What filling has cost.
    pub(super) measured: Measured,
    /// The books.
    pub(super) post: Arc<Post>,
    /// One device for each user, none of them connected.
    pub(super) devices: Vec<Device>,
}

/// As many users as connections.
pub(super) async fn people(ground: &Ground, settings: &Settings) -> Result<Arc<People>, Fault> {
    Ok(People::make(ground, settings.connections, rand::random()).await?)
}

/// Emits as many events for each user as a queue holds.
pub(super) async fn fill(ground: &Ground, settings: &Settings, people: &Arc<People>) -> Result<Filled, Fault> {
    let users = people.count();
    let letters = Letters::new(ground, Arc::clone(people), settings.payload_bytes, settings.batch)?;
    let post = Post::new(users);
    let rss_before = rss(ground);
    let emitting = Emitting::new(letters, Arc::clone(&post), Pick::in_turn(users), settings.batch);
    let most = (users as u64 * QUEUE_MOST).div_ceil(settings.batch as u64);
    // The number of events ends it.
    let duration = Duration::from_secs(3_600);
    let attack = Attack::new(Order { most, duration, ..order(ground, settings) }, emitting);
    let watching =
        tokio::spawn(watch(Arc::clone(&attack), Arc::clone(&post) as _, ground.processes.clone(), "filling"));
    attack.carry_out().await?;
    let (_, watch) = watching.await.map_err(|error| Fault::Nothing(error.to_string()))?;
    let mut measured = Measured::of(watch.end(), attack.took());
    measured.latency = attack.acts.latency("append", "the request");
    measured.users = users;
    measured.rss_before = rss_before;
    let devices = (0..users as u32).map(|user| Device { user, manner: Manner::Plain }).collect();
    Ok(Filled { measured, post, devices })
}

/// Closes the books after the drain that began then.
pub(super) fn conclude(measured: &mut Measured, post: &Post, receivers: &Receivers, began: Instant) {
    measured.counts = post.ledger.close_capped(&receivers.inboxes, QUEUE_MOST);
    let drained = Duration::from_micros(post.ledger.last_arrival_us().saturating_sub(post.at_us(began)));
    measured.delivering = Some(drained);
    let what = format!("{} events in {:.2} s", measured.counts.delivered, drained.as_secs_f64());
    measured.notes.push(("drained".to_owned(), what));
}
