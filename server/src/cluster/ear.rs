//! When something was last heard on a channel: what proves that it is heard. Knows nothing of what was said.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time::timeout};

pub(super) struct Ear(watch::Sender<Instant>);

impl Default for Ear {
    fn default() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }
}

impl Ear {
    /// Something was heard now.
    pub(super) fn hear(&self) {
        self.0.send_replace(Instant::now());
    }

    /// For how long nothing was.
    pub(super) fn unheard_for(&self) -> Duration {
        self.0.borrow().elapsed()
    }

    /// Completes when something was heard after this time.
    pub(super) async fn hears_after(&self, time: Instant) {
        // The sender is here, so there is no end to wait for.
        self.0.subscribe().wait_for(|heard| *heard > time).await.ok();
    }

    /// Completes when nothing was heard for this long.
    pub(super) async fn is_silent_for(&self, patience: Duration) {
        while timeout(patience, self.hears_after(Instant::now())).await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_heard_later_counts() {
        let ear = Ear::default();
        ear.hear();
        let now = Instant::now();
        assert!(timeout(Duration::from_millis(20), ear.hears_after(now)).await.is_err(), "it was heard before");
        ear.hear();
        ear.hears_after(now).await;
        ear.is_silent_for(Duration::from_millis(20)).await;
        assert!(ear.unheard_for() >= Duration::from_millis(20));
    }
}
