//! Counts, for each user, the stored events that connections were handed and their transports have not taken, so that a
//! connect can wait until there are none. Knows nothing of what they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The counts. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Inner>);

#[derive(Default)]
struct Inner {
    events: Mutex<HashMap<String, usize>>,
    landed: Notify,
}

/// One event on its way. Dropped when it has arrived, or never will.
pub(super) struct Flight {
    all: InFlight,
    user_id: String,
}

impl InFlight {
    pub(super) fn begin(&self, user_id: &str) -> Flight {
        *self.lock().entry(user_id.to_owned()).or_default() += 1;
        Flight { all: self.clone(), user_id: user_id.to_owned() }
    }

    /// Completes when nothing of a user is in flight.
    pub(super) async fn landed(&self, user_id: &str) {
        loop {
            // Before the look, so that what lands in between is noticed.
            let landed = self.0.landed.notified();
            if !self.lock().contains_key(user_id) {
                return;
            }
            landed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // No change can panic half way.
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut events = self.all.lock();
        if let Some(count) = events.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                events.remove(&self.user_id);
                self.all.0.landed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_user_has_landed_with_the_last_event() {
        let all = InFlight::default();
        let (one, other) = (all.begin("alice"), all.begin("alice"));
        assert!(all.landed("bob").now_or_never().is_some());
        drop(one);
        assert!(all.landed("alice").now_or_never().is_none());
        let waiting = all.landed("alice");
        drop(other);
        waiting.await;
        assert!(all.lock().is_empty());
    }
}
