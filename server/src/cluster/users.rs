//! Who is on this node, and what is known of where else they are. Pure; asks nobody.
//!
//! `joined` is the number of a membership, as `member` counts them; what was learnt in an earlier one counts no more.

use std::time::Instant;

use super::Destination;
use crate::{mutex::Mutex, sharded::Sharded, store::redis::peers::Mode};

pub(super) struct Users {
    known: Sharded<User>,
    /// Until when nobody who was elsewhere is taken to be alone.
    in_doubt: Mutex<Instant>,
}

#[derive(Default)]
struct User {
    devices: usize,
    acknowledging: usize,
    /// What the store was told, and in which membership.
    registered: Option<(u64, Mode)>,
    /// Whether the user may be elsewhere, too.
    shared: bool,
    /// The number of the last message that said so.
    heard: u64,
    /// In which membership nothing was missed.
    caught_up: u64,
}

impl Users {
    pub(super) fn new() -> Self {
        Self { known: Sharded::default(), in_doubt: Mutex::new(Instant::now()) }
    }

    /// After a gap: other nodes may have had it, too, and come back later. What they miss until then has to be in the store.
    pub(super) fn doubt_until(&self, when: Instant) {
        *self.in_doubt.lock() = when;
    }

    fn is_in_doubt(&self) -> bool {
        Instant::now() < *self.in_doubt.lock()
    }

    /// One more client.
    pub(super) fn arrive(&self, user_id: &str, acknowledges: bool, joined: u64) {
        let mut users = self.known.shard(user_id);
        // The first reads the queue itself: nothing can have been missed before.
        let user = users.entry(user_id.into()).or_insert_with(|| User { caught_up: joined, ..User::default() });
        user.devices += 1;
        user.acknowledging += usize::from(acknowledges);
    }

    /// One less. The user stays known until [`Users::left`].
    pub(super) fn depart(&self, user_id: &str, acknowledges: bool) {
        self.change(user_id, |user| {
            user.devices -= 1;
            user.acknowledging -= usize::from(acknowledges);
        });
    }

    /// How the user is present, if at all.
    pub(super) fn mode(&self, user_id: &str) -> Option<Mode> {
        let users = self.known.shard(user_id);
        let user = users.get(user_id).filter(|user| user.devices > 0)?;
        Some(if user.acknowledging > 0 { Mode::Ack } else { Mode::Plain })
    }

    /// What the store was told last, in this membership.
    pub(super) fn registered(&self, user_id: &str, joined: u64) -> Option<Mode> {
        self.known.shard(user_id).get(user_id)?.registered.filter(|(when, _)| *when == joined).map(|(_, mode)| mode)
    }

    /// The number of the last message that said that the user is elsewhere, too; to be asked before the store is.
    pub(super) fn heard(&self, user_id: &str) -> u64 {
        self.known.shard(user_id).get(user_id).map_or(0, |user| user.heard)
    }

    /// The store was told, and has said whether the user is elsewhere. What was heard meanwhile is newer.
    pub(super) fn note(&self, user_id: &str, joined: u64, mode: Mode, elsewhere: bool, heard: u64) {
        self.change(user_id, |user| {
            user.registered = Some((joined, mode));
            user.shared = elsewhere || user.heard != heard || (user.shared && self.is_in_doubt());
        });
    }

    /// The store was told that the user has gone. Forgets the user, unless another client has come.
    pub(super) fn left(&self, user_id: &str) {
        let mut users = self.known.shard(user_id);
        match users.get_mut(user_id) {
            Some(user) if user.devices > 0 => user.registered = None,
            _ => drop(users.remove(user_id)),
        }
    }

    /// A message of this number says that the user is elsewhere, too.
    pub(super) fn mark_shared(&self, user_id: &str, number: u64) {
        self.change(user_id, |user| {
            user.shared = true;
            user.heard = number;
        });
    }

    /// A message of this number says that the user is nowhere else.
    pub(super) fn mark_alone(&self, user_id: &str, number: u64) {
        self.change(user_id, |user| user.shared &= user.heard > number || self.is_in_doubt());
    }

    pub(super) fn destination(&self, user_id: &str, joined: u64) -> Destination {
        match self.known.shard(user_id).get(user_id) {
            Some(user) if user.devices == 0 || user.shared => Destination::Elsewhere,
            // Whoever has missed something is given that first.
            Some(user) if user.registered.is_some_and(|(when, _)| when == joined) && user.caught_up == joined => {
                Destination::Here
            }
            Some(_) => Destination::Unsure,
            None => Destination::Elsewhere,
        }
    }

    /// Whether the user is here and may have missed something.
    pub(super) fn is_behind(&self, user_id: &str, joined: u64) -> bool {
        self.known.shard(user_id).get(user_id).is_some_and(|user| user.caught_up != joined)
    }

    pub(super) fn caught_up(&self, user_id: &str, joined: u64) {
        self.change(user_id, |user| user.caught_up = joined);
    }

    /// Everybody who is here.
    pub(super) fn all(&self) -> Vec<String> {
        self.known.shards().flat_map(|users| users.keys().map(|id| id.to_string()).collect::<Vec<_>>()).collect()
    }

    fn change(&self, user_id: &str, change: impl FnOnce(&mut User)) {
        if let Some(user) = self.known.shard(user_id).get_mut(user_id) {
            change(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::removals::LATELY, *};

    #[test]
    fn a_user_is_alone_only_by_what_the_store_has_said_in_this_membership() {
        let users = Users::new();
        assert_eq!(users.destination("a", 1), Destination::Elsewhere);
        users.arrive("a", false, 1);
        assert_eq!(users.destination("a", 1), Destination::Unsure);
        users.note("a", 1, Mode::Plain, false, 0);
        assert_eq!(users.destination("a", 1), Destination::Here);
        assert_eq!(users.destination("a", 2), Destination::Unsure);
        users.note("a", 2, Mode::Plain, false, 0);
        assert_eq!(users.destination("a", 2), Destination::Unsure, "something may have been missed");
        users.caught_up("a", 2);
        assert_eq!(users.destination("a", 2), Destination::Here);
        users.note("a", 2, Mode::Plain, true, 0);
        assert_eq!(users.destination("a", 2), Destination::Elsewhere);
    }

    #[test]
    fn what_was_heard_while_the_store_was_asked_counts() {
        let users = Users::new();
        users.arrive("a", false, 1);
        let heard = users.heard("a");
        users.mark_shared("a", 5);
        users.note("a", 1, Mode::Plain, false, heard);
        assert_eq!(users.destination("a", 1), Destination::Elsewhere);
        users.mark_alone("a", 4);
        assert_eq!(users.destination("a", 1), Destination::Elsewhere, "the message is older");
        users.mark_alone("a", 6);
        assert_eq!(users.destination("a", 1), Destination::Here);
    }

    #[test]
    fn whoever_was_elsewhere_is_not_alone_soon_after_a_gap() {
        let users = Users::new();
        users.arrive("a", false, 1);
        users.note("a", 1, Mode::Plain, true, 0);
        users.doubt_until(Instant::now() + LATELY);
        users.note("a", 2, Mode::Plain, false, 0);
        users.caught_up("a", 2);
        users.mark_alone("a", 1);
        assert_eq!(users.destination("a", 2), Destination::Elsewhere);
        users.arrive("b", false, 2);
        users.note("b", 2, Mode::Plain, false, 0);
        assert_eq!(users.destination("b", 2), Destination::Here, "nobody has seen the user elsewhere");
        users.doubt_until(Instant::now());
        users.mark_alone("a", 2);
        assert_eq!(users.destination("a", 2), Destination::Here);
    }

    #[test]
    fn a_user_is_forgotten_with_the_last_client() {
        let users = Users::new();
        users.arrive("a", true, 1);
        users.arrive("a", false, 1);
        assert_eq!(users.mode("a"), Some(Mode::Ack));
        users.depart("a", true);
        assert_eq!(users.mode("a"), Some(Mode::Plain));
        users.left("a");
        assert_eq!(users.all(), ["a"]);
        users.depart("a", false);
        assert_eq!(users.mode("a"), None);
        users.left("a");
        assert!(users.all().is_empty());
    }

    #[test]
    fn only_who_was_here_before_may_have_missed_something() {
        let users = Users::new();
        users.arrive("a", false, 1);
        assert!(!users.is_behind("a", 1) && !users.is_behind("nobody", 1));
        users.arrive("a", false, 2);
        assert!(users.is_behind("a", 2));
        users.caught_up("a", 2);
        assert!(!users.is_behind("a", 2));
    }
}
