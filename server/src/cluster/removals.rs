//! Takes out of the queue what transports have taken, many at a time. Knows nothing of sockets.
//!
//! A node that is out of touch finds what it has missed in the store. So what clients have taken of a user who is on several nodes can
//! be found there for a while, beside the queue.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use crate::{
    model::{EntryId, StoreError},
    store::redis::peers::Link,
};

/// How many words are taken at a time, and how long to wait before the store is asked again.
const AT_ONCE: usize = 1_024;
const RETRY: Duration = Duration::from_secs(1);

/// How long a node that is out of touch has to catch up: as long as its lease counts.
pub(super) const LATELY: Duration = Duration::from_secs(10);

/// What the task is told. Without a user, [`Word::Share`] and [`Word::Flush`] are about all.
enum Word {
    Taken(String, EntryId),
    Share(Option<String>),
    Flush(Option<String>, oneshot::Sender<()>),
}

/// The way to the task that removes. It is only gone when the node is.
#[derive(Clone)]
pub(super) struct Removals(mpsc::UnboundedSender<Word>);

/// What the task works on.
pub(super) struct Work(mpsc::UnboundedReceiver<Word>);

impl Removals {
    pub(super) fn new() -> (Self, Work) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Work(receiver))
    }

    pub(super) fn take(&self, user_id: &str, entry: EntryId) {
        self.0.send(Word::Taken(user_id.to_owned(), entry)).ok();
    }

    /// What is taken from now on may be missed elsewhere.
    pub(super) fn share(&self, user_id: Option<&str>) {
        self.0.send(Word::Share(user_id.map(str::to_owned))).ok();
    }

    /// Completes when everything that was taken before has left the queue, or the store could not. Of one user, without waiting for any
    /// other.
    pub(super) async fn flush(&self, user_id: Option<&str>) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Word::Flush(user_id.map(str::to_owned), done)).is_ok() {
            flushed.await.ok();
        }
    }
}

/// Removes for as long as it is polled: for each user one step at a time, side by side for different ones.
pub(super) async fn run(Work(mut incoming): Work, link: Arc<Link>) {
    let (mut pending, mut shared) = (Pending::default(), Recently::new());
    let mut under_way: FuturesUnordered<BoxFuture<'_, Removed>> = FuturesUnordered::new();
    let mut words = Vec::new();
    loop {
        tokio::select! {
            many = incoming.recv_many(&mut words, AT_ONCE) => if many == 0 { return },
            Some((user_id, entries, removed)) = under_way.next() => match removed {
                Ok(()) => pending.removed(&user_id),
                Err(error) => {
                    tracing::warn!(%error, events = entries.len(), "delivered events could not be removed yet");
                    pending.failed(user_id, entries, Instant::now());
                }
            },
            () = pending.retry_due() => {}
        }
        for word in words.drain(..) {
            match word {
                Word::Taken(user_id, entry) => pending.take(user_id, entry),
                Word::Share(user_id) => shared.note(user_id, Instant::now()),
                Word::Flush(user_id, done) => pending.flush(user_id, done),
            }
        }
        for (user_id, entries) in pending.ready(Instant::now()) {
            let lately = if shared.has(&user_id, Instant::now()) { LATELY } else { Duration::ZERO };
            under_way.push(Box::pin(remove(&link, user_id, entries, lately)));
        }
    }
}

/// What was removed of whom, and whether the store could.
type Removed = (String, Vec<EntryId>, Result<(), StoreError>);

async fn remove(link: &Link, user_id: String, entries: Vec<EntryId>, lately: Duration) -> Removed {
    let removed = link.remove_delivered(&user_id, &entries, lately).await;
    (user_id, entries, removed)
}

/// Of one user: what was taken and is still in the queue, and who waits for that.
#[derive(Default)]
struct Removal {
    entries: Vec<EntryId>,
    /// The store is being asked, or is not to be asked before a time.
    rests: bool,
    under_way: bool,
    /// Those who wait for the step that is under way, and for the next.
    waiting: Vec<oneshot::Sender<()>>,
    waiting_next: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Pending {
    users: HashMap<String, Removal>,
    ready: Vec<String>,
    /// In the order of their times, which are all as far away.
    retries: VecDeque<(Instant, String)>,
}

impl Pending {
    fn take(&mut self, user_id: String, entry: EntryId) {
        let removal = self.users.entry(user_id.clone()).or_default();
        removal.entries.push(entry);
        if removal.entries.len() == 1 && !removal.under_way && !removal.rests {
            self.ready.push(user_id);
        }
    }

    fn flush(&mut self, user_id: Option<String>, done: oneshot::Sender<()>) {
        let Some(user_id) = user_id else {
            // Whoever waits for all waits for the last: it is the end of the node.
            let mut waits = Vec::new();
            for user_id in self.users.keys().cloned().collect::<Vec<_>>() {
                let (one, flushed) = oneshot::channel();
                self.flush(Some(user_id), one);
                waits.push(flushed);
            }
            tokio::spawn(async move {
                futures_util::future::join_all(waits).await;
                done.send(()).ok();
            });
            return;
        };
        match self.users.get_mut(&user_id) {
            None => drop(done.send(())),
            Some(removal) if removal.under_way && removal.entries.is_empty() => removal.waiting.push(done),
            Some(removal) => {
                removal.waiting_next.push(done);
                if std::mem::take(&mut removal.rests) {
                    // Its time in the order of retries passes without effect.
                    self.ready.push(user_id);
                }
            }
        }
    }

    /// What the store is to be asked now.
    fn ready(&mut self, now: Instant) -> Vec<(String, Vec<EntryId>)> {
        while let Some((_, user_id)) = self.retries.pop_front_if(|(due, _)| *due <= now) {
            if let Some(removal) = self.users.get_mut(&user_id)
                && std::mem::take(&mut removal.rests)
            {
                self.ready.push(user_id);
            }
        }
        let mut ready = Vec::with_capacity(self.ready.len());
        for user_id in self.ready.drain(..) {
            let Some(removal) = self.users.get_mut(&user_id).filter(|it| !it.under_way && !it.entries.is_empty())
            else {
                continue;
            };
            removal.under_way = true;
            removal.waiting = std::mem::take(&mut removal.waiting_next);
            ready.push((user_id, std::mem::take(&mut removal.entries)));
        }
        ready
    }

    fn removed(&mut self, user_id: &str) {
        let Some(removal) = self.users.get_mut(user_id) else { return };
        removal.under_way = false;
        tell(&mut removal.waiting);
        if removal.entries.is_empty() {
            self.users.remove(user_id);
        } else {
            self.ready.push(user_id.to_owned());
        }
    }

    fn failed(&mut self, user_id: String, mut entries: Vec<EntryId>, now: Instant) {
        let removal = self.users.entry(user_id.clone()).or_default();
        removal.under_way = false;
        entries.append(&mut removal.entries);
        removal.entries = entries;
        removal.rests = true;
        // The store could not; nobody waits for it to be able to.
        tell(&mut removal.waiting);
        tell(&mut removal.waiting_next);
        self.retries.push_back((now + RETRY, user_id));
    }

    /// Completes when something is to be tried again.
    async fn retry_due(&self) {
        match self.retries.front() {
            Some((due, _)) => sleep_until((*due).into()).await,
            None => std::future::pending().await,
        }
    }
}

fn tell(waiting: &mut Vec<oneshot::Sender<()>>) {
    for done in waiting.drain(..) {
        // Whoever waited may have given up.
        done.send(()).ok();
    }
}

/// Which users were on several nodes lately.
struct Recently {
    until: HashMap<String, Instant>,
    /// In the order of their times, which are all as far away.
    order: VecDeque<(Instant, String)>,
    all: Instant,
}

impl Recently {
    fn new() -> Self {
        Self { until: HashMap::new(), order: VecDeque::new(), all: Instant::now() }
    }

    fn note(&mut self, user_id: Option<String>, now: Instant) {
        let until = now + LATELY;
        match user_id {
            None => self.all = until,
            Some(user_id) => {
                self.order.push_back((until, user_id.clone()));
                self.until.insert(user_id, until);
            }
        }
        while let Some((_, user_id)) = self.order.pop_front_if(|(until, _)| *until <= now) {
            if self.until.get(&user_id).is_some_and(|until| *until <= now) {
                self.until.remove(&user_id);
            }
        }
    }

    fn has(&self, user_id: &str, now: Instant) -> bool {
        self.all > now || self.until.get(user_id).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(ready: Vec<(String, Vec<EntryId>)>) -> Vec<String> {
        ready.into_iter().map(|(user, _)| user).collect()
    }

    #[test]
    fn what_could_not_be_removed_waits_until_it_is_due_or_asked_for() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for user in ["alice", "bob"] {
            pending.take(user.into(), EntryId(1, 0));
        }
        let asked = pending.ready(now);
        assert_eq!(users(asked.clone()), ["alice", "bob"]);
        for (user, entries) in asked {
            pending.failed(user, entries, now);
        }
        assert!(pending.ready(now).is_empty());
        let (done, mut flushed) = oneshot::channel();
        pending.flush(Some("bob".into()), done);
        assert_eq!(users(pending.ready(now)), ["bob"]);
        assert!(flushed.try_recv().is_err());
        pending.removed("bob");
        assert_eq!(flushed.try_recv(), Ok(()));
        assert_eq!(users(pending.ready(now + RETRY)), ["alice"]);
        pending.removed("alice");
        assert!(pending.users.is_empty() && pending.retries.is_empty());
    }

    #[test]
    fn nobody_waits_for_a_stranger_and_everybody_for_what_was_taken_before() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.take("alice".into(), EntryId(1, 0));
        pending.ready(now);
        let (done, mut flushed) = oneshot::channel();
        pending.flush(Some("bob".into()), done);
        assert_eq!(flushed.try_recv(), Ok(()));
        pending.take("alice".into(), EntryId(2, 0));
        let (done, mut flushed) = oneshot::channel();
        pending.flush(Some("alice".into()), done);
        pending.removed("alice");
        assert!(flushed.try_recv().is_err(), "the second is still in the queue");
        assert_eq!(users(pending.ready(now)), ["alice"]);
        pending.removed("alice");
        assert_eq!(flushed.try_recv(), Ok(()));
    }

    #[test]
    fn whoever_is_on_several_nodes_is_shared_for_a_while() {
        let (mut shared, now) = (Recently::new(), Instant::now());
        assert!(!shared.has("alice", now));
        shared.note(Some("alice".into()), now);
        assert!(shared.has("alice", now) && !shared.has("bob", now) && !shared.has("alice", now + LATELY));
        shared.note(None, now);
        assert!(shared.has("bob", now));
        shared.note(Some("carol".into()), now + LATELY);
        assert_eq!(shared.until.len(), 1);
    }
}
