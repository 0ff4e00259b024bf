//! Where queues, sessions and answers are kept. What a store promises stands in `model`; here are the two that do. Knows nobody who asks
//! them.

use std::{sync::Arc, time::Duration};

use crate::model::{Answers, Queue, SessionStore};

pub mod embedded;
pub mod redis;

/// The limits of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many events a user's queue holds (QUEUE-03).
    pub max_events: usize,
    /// How long an event is kept (QUEUE-06 to QUEUE-08).
    pub ttl: Duration,
}

impl Limits {
    /// How often what is too old is looked for: often enough that nothing of it stays for a minute (QUEUE-31).
    pub(crate) fn sweep_every(&self) -> Duration {
        (self.ttl / 4).min(Duration::from_secs(20))
    }
}

/// One store, by its faces.
#[derive(Clone)]
pub struct Stores {
    /// The queues, and whether it answers.
    pub queue: Arc<dyn Queue>,
    /// The sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// The answers to requests with an `Idempotency-Key`.
    pub answers: Arc<dyn Answers>,
}

impl Stores {
    /// The faces of a store that has all of them.
    pub fn of<S: Queue + SessionStore + Answers>(store: S) -> Self {
        let store = Arc::new(store);
        Self { queue: store.clone(), sessions: store.clone(), answers: store }
    }
}
