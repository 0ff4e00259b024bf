//! When each send is due in open loop. Knows nothing of what is sent.
//!
//! The times are fixed before the first send. A server that stalls makes sends late and their latencies long, and never
//! makes the harness wait politely, which would hide the stall.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// How late the last send may be; what is due and was not sent by then is given up.
const GRACE: Duration = Duration::from_secs(2);

/// Sends at even distances, from `begin` on.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begin: Instant,
    end: Instant,
    rate: f64,
    total: u64,
    next: AtomicU64,
    due: Semaphore,
}

impl Pace {
    /// Starts: a thread of its own tells when the next send is due. The runtime's timers wake a millisecond late, and
    /// that would be counted as the server's latency.
    pub fn start(begin: Instant, rate: f64, duration: Duration) -> Self {
        let total = (rate * duration.as_secs_f64()).round() as u64;
        let (next, due) = (AtomicU64::new(0), Semaphore::new(0));
        let pace = Self(Arc::new(Shared { begin, end: begin + duration + GRACE, rate, total, next, due }));
        let shared = Arc::downgrade(&pace.0);
        thread::spawn(move || {
            let mut told = 0;
            // Whoever paced by this may have gone.
            while let Some(shared) = shared.upgrade().filter(|_| told < total) {
                let now = Instant::now();
                let by_now = ((now.saturating_duration_since(begin).as_secs_f64() * rate) as u64 + 1).min(total);
                if now >= begin && by_now > told {
                    shared.due.add_permits((by_now - told) as usize);
                    told = by_now;
                }
                let wake = shared.intended(told);
                drop(shared);
                thread::sleep(wake.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
            }
            if let Some(shared) = shared.upgrade() {
                shared.due.add_permits(Semaphore::MAX_PERMITS / 2);
            }
        });
        pace
    }

    /// Waits until the next send is due; its intended time. `None` once there is none left, or the rest is given up.
    pub async fn next(&self) -> Option<Instant> {
        self.0.due.acquire().await.ok()?.forget();
        if Instant::now() > self.0.end {
            return None;
        }
        let index = self.0.next.fetch_add(1, Ordering::Relaxed);
        (index < self.0.total).then(|| self.0.intended(index))
    }

    /// How many sends were due and given up because everything was late.
    pub fn given_up(&self) -> u64 {
        self.0.total.saturating_sub(self.0.next.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn intended(&self, index: u64) -> Instant {
        self.begin + Duration::from_secs_f64(index as f64 / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_send_has_its_time_and_comes_no_sooner() {
        let begin = Instant::now() + Duration::from_millis(20);
        let pace = Pace::start(begin, 1_000.0, Duration::from_millis(100));
        for index in 0..100 {
            let intended = pace.next().await.expect("a send is due");
            assert_eq!(intended, begin + Duration::from_millis(index));
            assert!(Instant::now() >= intended, "{index}");
        }
        assert!(pace.next().await.is_none());
        assert_eq!(pace.given_up(), 0);
    }

    #[tokio::test]
    async fn who_is_late_keeps_the_intended_times() {
        let begin = Instant::now() - Duration::from_millis(500);
        let pace = Pace::start(begin, 100.0, Duration::from_secs(1));
        assert_eq!(pace.next().await, Some(begin));
        assert_eq!(pace.next().await, Some(begin + Duration::from_millis(10)));
    }

    #[tokio::test]
    async fn what_is_far_too_late_is_given_up() {
        let pace = Pace::start(Instant::now() - Duration::from_secs(10), 100.0, Duration::from_secs(1));
        assert_eq!(pace.next().await, None);
        assert_eq!(pace.given_up(), 100);
    }
}
