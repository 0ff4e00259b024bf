//! Who is here, or is being dealt with: one object for each user, found by one look-up, with the user lock
//! (ARCHITECTURE.md), the clients and all that is under way. A user with whom nobody has to do is forgotten. Knows nothing of
//! stores.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedMutexGuard},
    time::timeout,
};

use super::{Deliver, Rooms, Unsent};
use crate::{interned::Interned, model::EntryId, mutex::Mutex, rules::Rules};

/// All of them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Users(Arc<Inner>);

struct Inner {
    rules: Arc<dyn Rules>,
    rooms: Rooms,
    known: Interned<User>,
}

/// One of them, for as long as somebody has hold of this.
pub(crate) struct User {
    pub(crate) id: Arc<str>,
    /// The one room that the user's clients join (ROOM-01).
    pub(crate) room: String,
    /// Those of them who are here.
    pub(super) clients: Arc<dyn Deliver>,
    lock: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// Stored events that connections were handed and their transports have not taken.
    in_flight: UnderWay,
    /// Stored events that were taken, until they are out of the store.
    removing: UnderWay,
    /// Told when the queue is on its way no more.
    released: Notify,
    users: Users,
}

#[derive(Default)]
struct State {
    /// Whether the queue is on its way from this node.
    drains: bool,
    /// Whether a task reads for clients what the store has for them.
    catches_up: bool,
    /// The newest entry that is known to have been in the queue, whoever was given it: whatever is handed over from now on was accepted
    /// later.
    newest: EntryId,
    /// Events of connections that broke, until the store has them: it may not answer.
    unsent: Vec<Unsent>,
    /// Has the user remembered, whoever lets go, while there is something unsent.
    keeps: Option<Arc<User>>,
}

/// The user lock, held until this is dropped: whatever happens to a user's queue and sockets happens in one order.
pub(crate) struct UserGuard {
    _held: OwnedMutexGuard<()>,
    pub(crate) user: Arc<User>,
}

/// How many events are on some way, and who waits until none is.
#[derive(Default)]
struct UnderWay {
    events: AtomicUsize,
    none: Notify,
}

/// An event on its way. Dropped when it has arrived, or never will.
pub(super) struct Flight {
    user: Arc<User>,
    way: fn(&User) -> &UnderWay,
}

impl Users {
    pub(super) fn new(rules: Arc<dyn Rules>, rooms: Rooms) -> Self {
        Self(Arc::new(Inner { rules, rooms, known: Interned::default() }))
    }

    /// The one object for a user.
    pub(super) fn get(&self, id: &str) -> Arc<User> {
        self.0.known.get(id, |id| {
            let room = self.0.rules.room(&id);
            User {
                id,
                clients: (self.0.rooms)(&room),
                room,
                lock: Arc::default(),
                state: Mutex::default(),
                in_flight: UnderWay::default(),
                removing: UnderWay::default(),
                released: Notify::new(),
                users: self.clone(),
            }
        })
    }
}

impl User {
    /// Waits for the user lock. Strangers never wait for each other, and nobody holds two, so nobody waits in a circle.
    pub(super) async fn lock(self: &Arc<Self>) -> UserGuard {
        UserGuard { _held: self.lock.clone().lock_owned().await, user: self.clone() }
    }

    /// The same within a time, and where no more than so many wait already.
    pub(super) async fn lock_within(self: &Arc<Self>, within: Duration, waiting: usize) -> Option<UserGuard> {
        // Whoever holds it or waits for it has a share.
        if Arc::strong_count(&self.lock) > waiting {
            return None;
        }
        timeout(within, self.lock()).await.ok()
    }

    /// The user lock, where nobody holds it and nobody waits for it.
    pub(super) fn try_lock(self: &Arc<Self>) -> Option<UserGuard> {
        let held = self.lock.clone().try_lock_owned().ok()?;
        Some(UserGuard { _held: held, user: self.clone() })
    }

    /// Counts a stored event that connections are handed.
    pub(super) fn takes_off(self: &Arc<Self>) -> Flight {
        Flight::begin(self, |user| &user.in_flight)
    }

    /// Completes when no stored event is in flight, so that a connect can wait until there are none.
    pub(super) async fn landed(&self) {
        self.in_flight.done().await;
    }

    /// Counts a stored event that was taken and is to be removed.
    pub(super) fn removes(self: &Arc<Self>) -> Flight {
        Flight::begin(self, |user| &user.removing)
    }

    /// Completes when the store has nothing any more that was taken.
    pub(super) async fn removed(&self) {
        self.removing.done().await;
    }

    /// Whether the queue was not on its way before; from now on it is.
    pub(super) fn begins_to_drain(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().drains, true)
    }

    /// The queue is on its way no more.
    pub(super) fn drains_no_more(&self) {
        self.state.lock().drains = false;
    }

    /// Whether nobody was catching up for this user; from now on somebody is.
    pub(super) fn begins_to_catch_up(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().catches_up, true)
    }

    /// Nobody catches up any more.
    pub(super) fn has_caught_up(&self) {
        self.state.lock().catches_up = false;
    }

    /// Tells whoever catches up that the queue is on its way no more; false where nobody does.
    pub(super) fn tell_released(&self) -> bool {
        let catches_up = self.state.lock().catches_up;
        if catches_up {
            self.released.notify_one();
        }
        catches_up
    }

    /// Completes when the queue is on its way no more.
    pub(super) async fn released(&self) {
        self.released.notified().await;
    }

    /// Notes entries of the queue.
    pub(super) fn has_queued(&self, entries: impl IntoIterator<Item = EntryId>) {
        let mut state = self.state.lock();
        state.newest = entries.into_iter().fold(state.newest, EntryId::max);
    }

    /// The newest entry that is known to have been in the queue.
    pub(crate) fn newest(&self) -> EntryId {
        self.state.lock().newest
    }

    /// Remembers what was taken back from clients that are gone, behind what came back before: all of it. It stays here until the
    /// store has it ([`User::has_stored_unsent`]): whoever waits for that may give up.
    pub(super) fn keep_unsent(self: &Arc<Self>, fresh: Vec<Unsent>) -> Vec<Unsent> {
        let mut state = self.state.lock();
        state.unsent.extend(fresh);
        if !state.unsent.is_empty() {
            state.keeps = Some(self.clone());
        }
        state.unsent.clone()
    }

    /// The store has all of it. Under the user lock, so that nothing was added.
    pub(super) fn has_stored_unsent(&self) {
        let mut state = self.state.lock();
        state.unsent.clear();
        let kept = state.keeps.take();
        drop(state);
        drop(kept);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.users.0.known.forget(&self.id, self);
    }
}

impl UnderWay {
    /// Completes when nothing is under way.
    async fn done(&self) {
        loop {
            // Before the look, so that what arrives in between is noticed.
            let none = self.none.notified();
            if self.events.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Flight {
    fn begin(user: &Arc<User>, way: fn(&User) -> &UnderWay) -> Self {
        way(user).events.fetch_add(1, Ordering::SeqCst);
        Self { user: user.clone(), way }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let way = (self.way)(&self.user);
        if way.events.fetch_sub(1, Ordering::SeqCst) == 1 {
            way.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        model::{Draft, EventType, Payload},
        rules::Standard,
        socketio::{acks::Acknowledging, roster::Roster},
    };

    fn users() -> Users {
        Users::new(Arc::new(Standard), Roster::new(Acknowledging::default()).rooms())
    }

    fn nobody_is_known(users: &Users) -> bool {
        users.0.known.is_empty()
    }

    #[tokio::test]
    async fn a_lock_is_waited_for_by_its_own_user_alone_and_nothing_is_left_behind() {
        let users = users();
        let first = users.get("a").lock().await;
        assert!(users.get("b").lock().now_or_never().is_some());
        assert!(users.get("a").lock().now_or_never().is_none());
        assert!(users.get("a").try_lock().is_none());
        assert!(users.get("b").try_lock().is_some());
        let waiting = tokio::spawn({
            let user = users.get("a");
            async move { drop(user.lock().await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
        assert!(nobody_is_known(&users));
    }

    #[tokio::test]
    async fn only_so_many_wait_for_a_lock() {
        let users = users();
        let user = users.get("a");
        let minute = Duration::from_secs(60);
        let held = user.lock().await;
        assert!(matches!(user.lock_within(minute, 1).now_or_never(), Some(None)), "it is told at once");
        assert!(user.lock_within(minute, 2).now_or_never().is_none(), "it waits");
        drop(held);
        assert!(user.lock_within(minute, 1).await.is_some());
    }

    #[tokio::test]
    async fn a_user_has_landed_with_the_last_event() {
        let users = users();
        let user = users.get("alice");
        let (one, other) = (user.takes_off(), user.takes_off());
        assert!(users.get("bob").landed().now_or_never().is_some());
        drop(one);
        assert!(user.landed().now_or_never().is_none());
        let waiting = user.landed();
        drop(other);
        waiting.await;
    }

    #[test]
    fn a_user_is_remembered_until_the_store_has_what_came_back() {
        let users = users();
        let draft = Draft {
            event_type: EventType::RecordAccessed,
            actor_id: "actor".into(),
            resource_id: "alice".into(),
            metadata: Default::default(),
        };
        let unsent = Unsent { event: Payload::now(draft).into(), after: EntryId::default(), number: 1 };
        assert_eq!(users.get("alice").keep_unsent(vec![unsent.clone()]).len(), 1);
        assert_eq!(users.get("alice").keep_unsent(vec![unsent]).len(), 2);
        users.get("alice").has_stored_unsent();
        assert!(nobody_is_known(&users));
    }
}
