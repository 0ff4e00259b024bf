//! How often something may happen in a second.

use tokio::time::{Duration, Instant};

use crate::mutex::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<Option<(Instant, u32)>>);

impl Rate {
    /// Notes that it happens; whether it may.
    pub(crate) fn allows(&self, per_second: u32, now: Instant) -> bool {
        let mut counted = self.0.lock();
        let (_, many) = match &mut *counted {
            Some(second) if now - second.0 < Duration::from_secs(1) => second,
            other => other.insert((now, 0)),
        };
        *many = many.saturating_add(1);
        *many <= per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_allowed_in_each_second() {
        let (rate, now) = (Rate::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        assert_eq!([now, now, now].map(|now| rate.allows(2, now)), [true, true, false]);
        assert_eq!([later, later, later].map(|now| rate.allows(2, now)), [true, true, false]);
    }
}
