//! Writes to the connections that have something to be written, each once with all that it has. Knows nothing of what that is.
//!
//! A write to the system costs more than everything else about an event, so what gains is fewer writes, not earlier ones: while the
//! flusher goes round, whatever else is handed to a connection joins what waits there.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, unconstrained, yield_now},
};

use super::connection::Connection;
use crate::mutex::Mutex;

/// After how many connections others have their turn at the processor.
const IN_A_ROW: usize = 64;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Flusher(Arc<Inner>);

#[derive(Default)]
struct Inner {
    listed: Mutex<Vec<Arc<Connection>>>,
    some: Notify,
    busy: AtomicBool,
    task: OnceLock<AbortHandle>,
}

impl Flusher {
    /// Whether it is going round.
    pub(super) fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::Relaxed)
    }

    /// Has a connection written to, soon.
    pub(super) fn list(&self, connection: Arc<Connection>) {
        let was_empty = {
            let mut listed = self.0.listed.lock();
            listed.push(connection);
            listed.len() == 1
        };
        if was_empty {
            self.0.some.notify_one();
        }
    }

    /// Begins, where it has not begun. Needs a runtime.
    pub(super) fn begin(&self) {
        self.0.task.get_or_init(|| tokio::spawn(unconstrained(run(Arc::downgrade(&self.0)))).abort_handle());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn run(inner: std::sync::Weak<Inner>) {
    let mut round = Vec::new();
    loop {
        let Some(flusher) = inner.upgrade() else { return };
        std::mem::swap(&mut round, &mut *flusher.listed.lock());
        flusher.busy.store(!round.is_empty(), Ordering::Relaxed);
        if round.is_empty() {
            flusher.some.notified().await;
            continue;
        }
        for (place, connection) in round.drain(..).enumerate() {
            connection.flush_listed();
            if place % IN_A_ROW == IN_A_ROW - 1 {
                yield_now().await;
            }
        }
        // Emitters have their turn between two rounds, and what they hand over joins the next.
        yield_now().await;
    }
}
