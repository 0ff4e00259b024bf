//! What is counted while the server runs: plain numbers that whoever likes may read. Counting takes no lock and knows no user. Without
//! this file nothing else changes; `ops/metrics.rs` would have less to tell.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::model::EventType;

/// Of this process.
pub(crate) static COUNTS: Counts = Counts::new();

/// What became of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It was handed to a client that is here.
    Live,
    /// It is in a queue.
    Queued,
    /// It was refused.
    Refused,
}

pub(crate) const OUTCOMES: [&str; 3] = ["live", "queued", "refused"];

/// Why a CONNECT was refused, as clients are told it.
pub(crate) const REFUSALS: [&str; 5] =
    ["token_missing", "token_invalid", "token_expired", "session_invalid", "unavailable"];

/// Why somebody was turned away or closed, by the limit that was hit.
pub(crate) const LIMITS: [&str; 5] = ["connections", "pending", "early", "devices_per_user", "rate"];

/// All numbers.
pub(crate) struct Counts {
    /// By type and outcome.
    pub(crate) events: [[Counter; OUTCOMES.len()]; EventType::ALL.len()],
    pub(crate) refused_connects: [Counter; REFUSALS.len()],
    pub(crate) accepted_connects: Counter,
    pub(crate) limits: [Counter; LIMITS.len()],
    /// From the acceptance of a live event until the last transport has taken it.
    pub(crate) handing_over: Histogram,
    pub(crate) acknowledged: Counter,
    pub(crate) unacknowledged_closes: Counter,
    /// What was handed over from queues, to plain clients and to those that acknowledge.
    pub(crate) from_queue: [Counter; 2],
    /// What the cap, its age or damage has cost, and a client was told.
    pub(crate) dropped: Counter,
    pub(crate) reinserted: Counter,
    pub(crate) store: Histogram,
    pub(crate) store_errors: Counter,
    pub(crate) key_lookups_failed: Counter,
}

impl Counts {
    const fn new() -> Self {
        Self {
            events: [const { [const { Counter::new() }; OUTCOMES.len()] }; EventType::ALL.len()],
            refused_connects: [const { Counter::new() }; REFUSALS.len()],
            accepted_connects: Counter::new(),
            limits: [const { Counter::new() }; LIMITS.len()],
            handing_over: Histogram::new(),
            acknowledged: Counter::new(),
            unacknowledged_closes: Counter::new(),
            from_queue: [const { Counter::new() }; 2],
            dropped: Counter::new(),
            reinserted: Counter::new(),
            store: Histogram::new(),
            store_errors: Counter::new(),
            key_lookups_failed: Counter::new(),
        }
    }

    pub(crate) fn event(&self, event_type: EventType, outcome: Outcome) {
        self.events[event_type as usize][outcome as usize].add(1);
    }

    /// Measures a call to the store.
    pub(crate) async fn store_call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = std::time::Instant::now();
        let outcome = call.await;
        self.store.observe(began.elapsed());
        if outcome.is_err() {
            self.store_errors.add(1);
        }
        outcome
    }
}

/// A number that grows.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, many: u64) {
        self.0.fetch_add(many, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How long something took.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; Self::BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// The upper bounds, as they are written and in microseconds.
    pub(crate) const BOUNDS: [(&'static str, u64); 14] = [
        ("0.0001", 100),
        ("0.00025", 250),
        ("0.0005", 500),
        ("0.001", 1_000),
        ("0.0025", 2_500),
        ("0.005", 5_000),
        ("0.01", 10_000),
        ("0.025", 25_000),
        ("0.05", 50_000),
        ("0.1", 100_000),
        ("0.25", 250_000),
        ("1", 1_000_000),
        ("5", 5_000_000),
        ("30", 30_000_000),
    ];

    const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; Self::BOUNDS.len() + 1], nanos: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS.partition_point(|(_, bound)| bound * 1_000 < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// How many took no longer than each bound, and how many there are in all.
    pub(crate) fn cumulative(&self) -> [u64; Self::BOUNDS.len() + 1] {
        let mut sum = 0;
        self.buckets.each_ref().map(|bucket| {
            sum += bucket.load(Relaxed);
            sum
        })
    }

    /// All together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_last_has_all() {
        let histogram = Histogram::new();
        for micros in [100, 101, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..2], [1, 2]);
        assert_eq!(cumulative[Histogram::BOUNDS.len() - 1..], [2, 3]);
        assert!((histogram.seconds() - 60.000_201).abs() < 1e-9);
    }

    #[test]
    fn types_are_counted_under_their_own_names() {
        for (place, kind) in EventType::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
