//! Latencies of many tasks, in microseconds: one histogram of the run, and one for each second. Knows nothing of what is timed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::results::{Bucket, Latency};

/// Nothing that is waited for takes longer.
const LONGEST_US: u64 = 10 * 60 * 1_000_000;
/// So that tasks on different cores seldom meet.
const SHARDS: usize = 8;

/// Collects latencies.
#[derive(Debug)]
pub struct Recorder {
    shards: Vec<Mutex<Histogram<u64>>>,
    total: Mutex<Histogram<u64>>,
    next: AtomicUsize,
}

/// What a task records through.
#[derive(Debug, Clone, Copy)]
pub struct Shard(usize);

impl Default for Recorder {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(histogram())).collect();
        Self { shards, total: Mutex::new(histogram()), next: AtomicUsize::new(0) }
    }
}

impl Recorder {
    /// A place for one task to record at.
    pub fn shard(&self) -> Shard {
        Shard(self.next.fetch_add(1, Ordering::Relaxed) % SHARDS)
    }

    /// Records one latency.
    pub fn record(&self, shard: Shard, latency_us: u64) {
        self.record_all(shard, [latency_us]);
    }

    /// Records several at once.
    pub fn record_all(&self, shard: Shard, latencies_us: impl IntoIterator<Item = u64>) {
        let mut histogram = locked(&self.shards[shard.0]);
        latencies_us.into_iter().for_each(|latency_us| histogram.saturating_record(latency_us.max(1)));
    }

    /// Ends a second: what was recorded since the last time, which goes to the whole as well.
    pub fn turn(&self) -> Histogram<u64> {
        // Held throughout: whoever asks for the whole meanwhile would miss what is in neither.
        let mut total = locked(&self.total);
        let mut second = histogram();
        for shard in &self.shards {
            let mut shard = locked(shard);
            add(&mut second, &shard);
            shard.reset();
        }
        add(&mut total, &second);
        second
    }

    /// All that was recorded, as it is reported.
    pub fn latency(&self, of: &str, from: &str) -> Latency {
        self.turn();
        describe(&locked(&self.total), of, from)
    }

    /// Forgets everything.
    pub fn reset(&self) {
        let mut total = locked(&self.total);
        self.shards.iter().for_each(|shard| locked(shard).reset());
        total.reset();
    }
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds and three digits are what the library takes")
}

fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    if !from.is_empty() {
        to.add(from).expect("both have the same bounds");
    }
}

fn describe(histogram: &Histogram<u64>, of: &str, from: &str) -> Latency {
    let buckets = histogram.iter_recorded();
    Latency {
        of: of.to_owned(),
        from: from.to_owned(),
        count: histogram.len(),
        mean_us: histogram.mean(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
        buckets: buckets
            .map(|bar| Bucket { value_us: bar.value_iterated_to(), count: bar.count_since_last_iteration() })
            .collect(),
    }
}

fn locked(histogram: &Mutex<Histogram<u64>>) -> std::sync::MutexGuard<'_, Histogram<u64>> {
    histogram.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    #[test]
    fn the_whole_is_the_sum_of_the_seconds() {
        let recorder = Recorder::default();
        let (one, two) = (recorder.shard(), recorder.shard());
        (1..=1_000).for_each(|latency| recorder.record(one, latency));
        assert_eq!(recorder.turn().len(), 1_000);
        recorder.record(two, 5_000_000);
        let second = recorder.turn();
        assert_eq!(second.len(), 1);
        let latency = recorder.latency("delivery", "the intended send time");
        assert_eq!((latency.count, latency.p50_us, latency.max_us / 1_000), (1_001, 501, 5_001));
        assert_eq!(latency.buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 1_001);
        recorder.reset();
        assert_eq!(recorder.latency("", "").count, 0);
    }

    #[test]
    fn a_second_that_ends_meanwhile_is_part_of_the_whole() {
        let (recorder, done) = (Recorder::default(), AtomicBool::new(false));
        let shards = [(); SHARDS].map(|()| recorder.shard());
        thread::scope(|scope| {
            // More than there are cores, so that each is held up at any place.
            for _ in 0..8 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        recorder.turn();
                    }
                });
            }
            let counts: Vec<_> = (0..200)
                .map(|_| {
                    shards.iter().for_each(|shard| recorder.record(*shard, 1));
                    recorder.latency("", "").count
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            assert_eq!(counts, (1..=200).map(|n| n * SHARDS as u64).collect::<Vec<_>>());
        });
    }
}
