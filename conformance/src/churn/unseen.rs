//! The events of one user that were emitted and have not been seen: so that a queue never overflows, and the end is known.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

#[derive(Debug, Clone, Default)]
pub(super) struct Unseen(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    numbers: BTreeSet<u64>,
}

impl Unseen {
    /// The number of the next event, which is about to be emitted.
    pub(super) fn next(&self) -> u64 {
        let mut inner = self.lock();
        inner.last += 1;
        let n = inner.last;
        inner.numbers.insert(n);
        n
    }

    pub(super) fn was_emitted(&self, n: u64) -> bool {
        (1..=self.lock().last).contains(&n)
    }

    /// It arrived, or need not.
    pub(super) fn seen(&self, n: u64) {
        self.lock().numbers.remove(&n);
        self.0.changed.notify_waiters();
    }

    /// Returns when at most so many are unseen.
    pub(super) async fn at_most(&self, count: usize) {
        loop {
            // Before the look, so that what changes in between is noticed.
            let changed = self.0.changed.notified();
            if self.lock().numbers.len() <= count {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
