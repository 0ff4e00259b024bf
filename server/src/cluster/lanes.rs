//! Work for each user in its order, side by side for different ones. Knows nothing of the work.

use std::collections::{HashMap, VecDeque};

use crate::mutex::Mutex;

/// What waits for each user; one whose work is being done has a place, even where nothing waits.
pub(super) struct Lanes<T>(Mutex<HashMap<String, VecDeque<T>>>);

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Lanes<T> {
    /// Adds work; true where nobody is at work for this user yet, so that the caller has to begin.
    pub(super) fn push(&self, user_id: &str, work: T) -> bool {
        let mut lanes = self.0.lock();
        let begins = !lanes.contains_key(user_id);
        lanes.entry(user_id.to_owned()).or_default().push_back(work);
        begins
    }

    /// The next work; with none the lane is closed, and whoever has worked is done.
    pub(super) fn next(&self, user_id: &str) -> Option<T> {
        let mut lanes = self.0.lock();
        let next = lanes.get_mut(user_id)?.pop_front();
        if next.is_none() {
            lanes.remove(user_id);
        }
        next
    }

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.0.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_works_for_a_user_until_nothing_is_left() {
        let lanes = Lanes::default();
        assert!(lanes.push("a", 1));
        assert!(!lanes.push("a", 2));
        assert!(lanes.push("b", 3));
        assert_eq!([lanes.next("a"), lanes.next("a")], [Some(1), Some(2)]);
        assert!(!lanes.push("a", 4), "the second was not done yet");
        assert_eq!([lanes.next("a"), lanes.next("a")], [Some(4), None]);
        assert!(lanes.push("a", 5) && !lanes.is_idle());
    }
}
