//! Counts who is refused or sent away, and tells it once a while: a line for each would be a flood of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};

/// How often it is told.
const EVERY: Duration = Duration::from_secs(10);

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There were too many connections.
    Connections,
    /// There were too many who were not let in, or they had begun to say too much.
    Pending,
    /// A client did more than it may before it was let in.
    Early,
    /// A user had too many devices.
    Devices,
    /// A client sent too much in a second.
    Rate,
}

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since: [AtomicU64; 5],
    is_told: AtomicBool,
}

impl Refused {
    pub(crate) fn note(&self, reason: Reason) {
        self.0.since[reason as usize].fetch_add(1, Ordering::SeqCst);
        if let Ok(runtime) = Handle::try_current()
            && !self.0.is_told.swap(true, Ordering::SeqCst)
        {
            let counts = self.0.clone();
            runtime.spawn(async move { counts.tell().await });
        }
    }
}

impl Counts {
    async fn tell(&self) {
        loop {
            let since = self.since.each_ref().map(|count| count.swap(0, Ordering::SeqCst));
            if since.iter().all(|count| *count == 0) {
                self.is_told.store(false, Ordering::SeqCst);
                // Whoever was noted between the two found somebody who tells.
                let is_noted = self.since.iter().any(|count| count.load(Ordering::SeqCst) > 0);
                if is_noted && !self.is_told.swap(true, Ordering::SeqCst) {
                    continue;
                }
                return;
            }
            let [connections, pending, early, devices, rate] = since;
            tracing::warn!(connections, pending, early, devices, rate, "refused or closed since this was told last");
            sleep(EVERY).await;
        }
    }
}
