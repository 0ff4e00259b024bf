//! Connections that do nothing but answer pings: what does each cost, in processor time and in memory, the kernel's included?

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::time::sleep;

use super::unicast;
use crate::{
    fault::Fault,
    ground::Ground,
    machine,
    measured::Measured,
    people::People,
    receivers::{Coming, Manner, Post, Receivers},
    settings::Settings,
    stream::rss,
    watch::Watch,
};

/// Processor time is told in hundredths of a second: of less than this, a few of them are too large a share.
const LEAST_CPU_S: f64 = 0.05;

/// A minute, in which each is pinged twice at least.
pub fn defaults() -> Settings {
    let second = std::time::Duration::from_secs(1);
    Settings { emitters: 0, warmup: 5 * second, duration: 60 * second, ..Settings::default() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let shape = unicast::shape("idle", settings.connections, Manner::Plain);
    let people = People::make(ground, shape.users, rand::random()).await?;
    let post = Post::new(shape.users);
    let (rss_before, kernel_before) = (rss(ground), machine::kernel_bytes());
    let mut receivers = Receivers::default();
    receivers.connect(&post, &ground.door, &people, &shape.devices, Coming::ORDERLY).await?;
    let (rss_connected, kernel_connected) = (rss(ground), machine::kernel_bytes());

    // Nothing is waited for in either of these: that time passes is what is measured.
    sleep(settings.warmup).await;
    let watch = Watch::begin(Arc::clone(&post) as _, ground.processes.clone(), shape.name, Some(settings.duration));
    sleep(settings.duration).await;
    let sight = watch.end();
    if !ground.still_runs().await {
        return Err(Fault::ServerEnded(ground.output()));
    }
    let mut measured = Measured::of(sight, settings.duration);
    measured.connections = shape.devices.len();
    measured.users = shape.users;
    (measured.rss_before, measured.rss_connected) = (rss_before, rss_connected);
    (measured.kernel_before, measured.kernel_connected) = (kernel_before, kernel_connected);
    if let Some(used) = measured.server_cpu_s.filter(|used| *used < LEAST_CPU_S) {
        measured.warnings.push(format!(
            "the server used {used:.2} s in all, which is told in hundredths only: take more connections, or more time"
        ));
    }
    let lost = post.lost.load(Relaxed);
    if lost > 0 {
        measured.failures.push(format!("the server has closed {lost} connections that answered their pings"));
    }
    Ok(measured)
}
