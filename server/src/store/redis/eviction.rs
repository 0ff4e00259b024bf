//! Whether Redis keeps what it is given, as far as it has said. Asks nobody by itself.

use std::sync::{
    Arc, Once,
    atomic::{AtomicBool, Ordering},
};

use crate::model::StoreError;

/// What Redis has said last: until then, that it keeps everything. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Eviction(Arc<Said>);

#[derive(Debug)]
struct Said {
    evicts: AtomicBool,
    nothing: Once,
}

impl Default for Eviction {
    fn default() -> Self {
        Self(Arc::new(Said { evicts: AtomicBool::new(false), nothing: Once::new() }))
    }
}

impl Eviction {
    /// Whether one of such a bound and policy throws away what it is given. Without a bound there is nothing to make room for.
    pub(super) fn is_one(bound: u64, policy: &str) -> bool {
        policy != "noeviction" && bound > 0
    }

    /// Notes what Redis has just said: its bound of memory in bytes, where it has one, and its policy; nothing where it may not say.
    pub(super) fn note(&self, memory: Option<(u64, String)>) {
        let Some((bound, policy)) = memory else {
            self.0.nothing.call_once(|| {
                tracing::warn!(
                    "redis does not let its user ask for INFO, so nobody sees whether it throws away what it is given: \
                     make sure that its maxmemory-policy is noeviction, or allow +info"
                );
            });
            return;
        };
        let evicts = Self::is_one(bound, &policy);
        match (self.0.evicts.swap(evicts, Ordering::SeqCst), evicts) {
            (false, true) => tracing::warn!(
                maxmemory_policy = policy,
                "redis makes room by throwing away queues, sessions and presence: nothing more is stored in it; \
                 set maxmemory-policy to noeviction"
            ),
            (true, false) => tracing::info!("redis keeps what it is given again"),
            _ => {}
        }
    }

    /// # Errors
    /// Where what is stored now may be thrown away: it must not be accepted.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.0.evicts.load(Ordering::SeqCst) { Err(StoreError::Evicts) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redis_with_a_bound_and_another_policy_evicts() {
        let eviction = Eviction::default();
        let evicts = |bound, policy: &str| {
            eviction.note(Some((bound, policy.to_owned())));
            eviction.check().is_err()
        };
        assert!(!evicts(0, "noeviction"));
        assert!(!evicts(0, "allkeys-lru"));
        assert!(evicts(1_000, "allkeys-lru"));
        assert!(evicts(1_000, "volatile-ttl"));
        assert!(!evicts(1_000, "noeviction"));
        evicts(1_000, "allkeys-lru");
        eviction.note(None);
        assert!(eviction.check().is_err(), "it has not said that it keeps anything again");
    }
}
