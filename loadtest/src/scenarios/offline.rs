//! Nobody is connected: the queue of every user is filled, 50 events each. Then all connect and drain.

use std::time::Instant;

use super::filling::{self, Filled};
use crate::{
    fault::Fault,
    ground::Ground,
    measured::Measured,
    receivers::{Coming, Receivers},
    settings::Settings,
    stream::{QUEUE_MOST, drained},
};

/// 1,000 users, in batches: a single emit each would measure HTTP.
pub fn defaults() -> Settings {
    Settings { batch: 100, emitters: 8, warmup: std::time::Duration::ZERO, ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let people = filling::people(ground, settings).await?;
    let Filled { mut measured, post, devices } = filling::fill(ground, settings, &people).await?;
    let began = Instant::now();
    post.count_from(began);
    let mut receivers = Receivers::default();
    receivers.connect(&post, &ground.door, &people, &devices, Coming::ORDERLY).await?;
    post.ledger.expect_queued(&receivers.inboxes, QUEUE_MOST);
    drained(&post).await;
    filling::conclude(&mut measured, &post, &receivers, began);
    measured.further.push(post.delivery.latency("drain", "the first connect"));
    measured.connections = devices.len();
    Ok(measured)
}
