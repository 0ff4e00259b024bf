//! One object for each key, for as long as somebody has hold of it: whoever comes next finds the same one. Knows nothing of what it is.

use std::sync::{Arc, Weak};

use crate::sharded::Sharded;

pub(crate) struct Interned<T>(Sharded<Weak<T>>);

impl<T> Interned<T> {
    /// The one object for a key. One that is new has to call [`Interned::forget`] when it is dropped.
    pub(crate) fn get(&self, key: &str, new: impl FnOnce(Arc<str>) -> T) -> Arc<T> {
        let mut known = self.0.shard(key);
        if let Some(one) = known.get(key).and_then(Weak::upgrade) {
            return one;
        }
        let key: Arc<str> = key.into();
        let one = Arc::new(new(key.clone()));
        known.insert(key, Arc::downgrade(&one));
        one
    }

    /// Nobody has hold of this one any more.
    pub(crate) fn forget(&self, key: &str, one: &T) {
        let mut known = self.0.shard(key);
        // Another one may have taken the place by now.
        if known.get(key).is_some_and(|other| std::ptr::eq(other.as_ptr(), one)) {
            known.remove(key);
        }
    }

    /// All that somebody has hold of.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<T>> {
        // One that goes meanwhile is forgotten when the lock is free.
        self.0.shards().flat_map(|known| known.values().filter_map(Weak::upgrade).collect::<Vec<_>>())
    }

    /// Whether nothing is left of whatever there was.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.shards().all(|known| known.is_empty())
    }
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(Sharded::default())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    struct One {
        interned: Arc<Interned<Self>>,
        key: Arc<str>,
    }

    impl Drop for One {
        fn drop(&mut self) {
            self.interned.forget(&self.key, self);
        }
    }

    fn get(interned: &Arc<Interned<One>>, key: &str) -> Arc<One> {
        interned.get(key, |key| One { interned: interned.clone(), key })
    }

    #[test]
    fn there_is_one_for_a_key_and_nothing_is_left_of_it() {
        let interned = Arc::default();
        let (one, other) = (get(&interned, "a"), get(&interned, "b"));
        assert!(Arc::ptr_eq(&one, &get(&interned, "a")) && !Arc::ptr_eq(&one, &other));
        assert_eq!(interned.all().count(), 2);
        drop((one, other));
        assert!(interned.is_empty());
    }

    #[test]
    fn one_that_goes_late_does_not_take_its_successor_with_it() {
        let interned = Arc::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let one = get(&interned, "a");
                        // Whoever comes while this one is held has to find it.
                        assert!(Arc::ptr_eq(&one, &get(&interned, "a")));
                    }
                });
            }
        });
        assert!(interned.is_empty());
    }
}
