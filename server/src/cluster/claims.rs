//! Takes out of the queue what transports have taken, many at a time. Knows nothing of sockets.
//!
//! A node that is out of touch finds what it has missed in the store. So what clients have taken of a user who is on several nodes can
//! be found there for a while, beside the queue.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{queue::EntryId, store::redis::peers::Link};

/// How many claims are gathered at most, and how long to wait before the store is asked again.
const AT_ONCE: usize = 1_024;
const RETRY: Duration = Duration::from_secs(1);

/// How long a node that is out of touch has to catch up: as long as its lease counts.
pub(super) const LATELY: Duration = Duration::from_secs(10);

/// What the task is told; with no user, of all of them.
enum Word {
    Taken(String, EntryId),
    Share(Option<String>),
    Flush(Option<String>, oneshot::Sender<()>),
}

/// The way to the task that claims. It is only gone when the node is.
#[derive(Clone)]
pub(super) struct Claims(mpsc::UnboundedSender<Word>);

/// What the task works on.
pub(super) struct Work(mpsc::UnboundedReceiver<Word>);

impl Claims {
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

    /// Completes when everything that was taken before has left the queue, or the store could not.
    pub(super) async fn flush(&self, user_id: Option<&str>) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Word::Flush(user_id.map(str::to_owned), done)).is_ok() {
            flushed.await.ok();
        }
    }
}

/// Claims for as long as it is polled.
pub(super) async fn run(Work(mut incoming): Work, link: Arc<Link>) {
    let mut pending = Pending::new();
    loop {
        let mut words = Vec::new();
        match pending.next_due() {
            None => drop(incoming.recv_many(&mut words, AT_ONCE).await),
            Some(due) => {
                let wait = due.saturating_duration_since(Instant::now());
                timeout(wait, incoming.recv_many(&mut words, AT_ONCE)).await.ok();
            }
        }
        if words.is_empty() && incoming.is_closed() {
            return;
        }
        let mut waiting = Vec::new();
        for word in words {
            match word {
                Word::Taken(user_id, entry) => pending.take(user_id, entry),
                Word::Share(user_id) => pending.share(user_id),
                Word::Flush(user_id, done) => {
                    pending.hasten(user_id.as_deref());
                    waiting.push(done);
                }
            }
        }
        let claimed = pending.due(Instant::now()).into_iter().map(async |(user_id, entries)| {
            let lately = if pending.is_shared(&user_id) { LATELY } else { Duration::ZERO };
            match link.claim(&user_id, &entries, lately).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::warn!(%error, events = entries.len(), "delivered events could not be removed yet");
                    Some((user_id, entries))
                }
            }
        });
        for (user_id, entries) in join_all(claimed).await.into_iter().flatten() {
            pending.taken.insert(user_id, (entries, Instant::now() + RETRY));
        }
        for done in waiting {
            // Whoever waited may have given up.
            done.send(()).ok();
        }
    }
}

/// What was taken and is still in the queue, from when on the store is to be asked, and which users are on several nodes.
struct Pending {
    taken: HashMap<String, (Vec<EntryId>, Instant)>,
    shared: HashMap<String, Instant>,
    all_shared: Instant,
}

impl Pending {
    fn new() -> Self {
        Self { taken: HashMap::new(), shared: HashMap::new(), all_shared: Instant::now() }
    }

    fn take(&mut self, user_id: String, entry: EntryId) {
        self.taken.entry(user_id).or_insert_with(|| (Vec::new(), Instant::now())).0.push(entry);
    }

    fn share(&mut self, user_id: Option<String>) {
        let (now, until) = (Instant::now(), Instant::now() + LATELY);
        match user_id {
            Some(user_id) => drop(self.shared.insert(user_id, until)),
            None => self.all_shared = until,
        }
        self.shared.retain(|_, until| *until > now);
    }

    fn is_shared(&self, user_id: &str) -> bool {
        let until = self.shared.get(user_id).copied().unwrap_or(self.all_shared).max(self.all_shared);
        until > Instant::now()
    }

    fn hasten(&mut self, user_id: Option<&str>) {
        let now = Instant::now();
        match user_id {
            Some(user_id) => self.taken.get_mut(user_id).into_iter().for_each(|(_, due)| *due = now),
            None => self.taken.values_mut().for_each(|(_, due)| *due = now),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.taken.values().map(|(_, due)| *due).min()
    }

    fn due(&mut self, now: Instant) -> Vec<(String, Vec<EntryId>)> {
        let due = self.taken.extract_if(|_, (_, due)| *due <= now);
        due.map(|(user_id, (entries, _))| (user_id, entries)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_claimed_waits_until_it_is_due_or_asked_for() {
        let mut pending = Pending::new();
        pending.take("alice".into(), EntryId(1, 0));
        let users = |due: Vec<(String, Vec<EntryId>)>| due.into_iter().map(|(user, _)| user).collect::<Vec<_>>();
        assert_eq!(users(pending.due(Instant::now())), ["alice"]);
        for user in ["alice", "bob"] {
            pending.taken.insert(user.into(), (vec![EntryId(1, 0)], Instant::now() + RETRY));
        }
        assert!(pending.due(Instant::now()).is_empty());
        pending.hasten(Some("bob"));
        assert_eq!(users(pending.due(Instant::now())), ["bob"]);
        assert_eq!(users(pending.due(Instant::now() + RETRY)), ["alice"]);
        assert_eq!(pending.next_due(), None);
    }

    #[test]
    fn whoever_is_on_several_nodes_is_shared_for_a_while() {
        let mut pending = Pending::new();
        assert!(!pending.is_shared("alice"));
        pending.share(Some("alice".into()));
        assert!(pending.is_shared("alice") && !pending.is_shared("bob"));
        pending.share(None);
        assert!(pending.is_shared("bob"));
    }
}
