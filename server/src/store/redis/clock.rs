//! Redis's clock, as far as it is known here: what is asked can then say until when it is wanted. Asks nobody by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::mutex::Mutex;

/// What the clock was found to say last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<Mutex<Option<Reading>>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    redis_ms: u64,
    at: Instant,
}

impl Clock {
    /// Notes what Redis has just answered to `TIME`: seconds and microseconds since its epoch.
    pub(super) fn note(&self, (seconds, microseconds): (u64, u64)) {
        let redis_ms = seconds.saturating_mul(1_000).saturating_add(microseconds / 1_000);
        // The answer took its time, so this lags behind, and what is made of it is rather too early than too late.
        *self.0.lock() = Some(Reading { redis_ms, at: Instant::now() });
    }

    /// What Redis's clock will say after this time, in milliseconds; 0 where nothing is known of it.
    pub(super) fn in_ms(&self, time: Duration) -> u64 {
        let Some(Reading { redis_ms, at }) = *self.0.lock() else { return 0 };
        redis_ms.saturating_add(u64::try_from((at.elapsed() + time).as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_counted_from_the_clock_that_was_read() {
        let clock = Clock::default();
        assert_eq!(clock.in_ms(Duration::from_secs(1)), 0, "nothing is known");
        clock.note((100, 999_999));
        let deadline = clock.in_ms(Duration::from_millis(1_200));
        assert!((102_199..103_000).contains(&deadline), "{deadline}");
    }
}
