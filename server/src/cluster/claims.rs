//! Removes from the store what transports have taken, many at a time. Knows nothing of sockets.
//!
//! A node that is out of touch finds what it has missed in the store. So what this node's clients have taken of a user who is on
//! others, too, stays there for a while; but not for longer than until the user's next connect, wherever that is.

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

/// How long a node that is out of touch has to catch up: as long as its lease counts. And for how many events of a user: a queue
/// has a bound.
const HOLD: Duration = Duration::from_secs(10);
const HELD_AT_MOST: usize = 1_000;

/// What the task is told; with no user, of all of them.
enum Word {
    Taken(String, EntryId),
    Hold(Option<String>),
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

    /// What is taken from now on stays for a while.
    pub(super) fn hold(&self, user_id: Option<&str>) {
        self.0.send(Word::Hold(user_id.map(str::to_owned))).ok();
    }

    /// Completes when everything that was taken before is removed, held or not, or the store could not.
    pub(super) async fn flush(&self, user_id: Option<&str>) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Word::Flush(user_id.map(str::to_owned), done)).is_ok() {
            flushed.await.ok();
        }
    }
}

/// Claims for as long as it is polled.
pub(super) async fn run(Work(mut incoming): Work, link: Arc<Link>) {
    let mut pending = Pending { taken: HashMap::new(), held: HashMap::new(), all_held: Instant::now() };
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
                Word::Hold(user_id) => pending.hold(user_id),
                Word::Flush(user_id, done) => {
                    pending.release(user_id.as_deref());
                    waiting.push(done);
                }
            }
        }
        let claimed = pending.due(Instant::now()).into_iter().map(async |(user_id, entries)| {
            match link.claim(&user_id, &entries).await {
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

/// What was taken and is still in the store, and from when on it is to be removed.
struct Pending {
    taken: HashMap<String, (Vec<EntryId>, Instant)>,
    held: HashMap<String, Instant>,
    all_held: Instant,
}

impl Pending {
    fn take(&mut self, user_id: String, entry: EntryId) {
        let held = self.held.get(&user_id).copied().unwrap_or(self.all_held).max(self.all_held);
        let (entries, due) = self.taken.entry(user_id).or_insert_with(|| (Vec::new(), held));
        entries.push(entry);
        *due = if entries.len() < HELD_AT_MOST { held.max(*due) } else { Instant::now() };
    }

    fn hold(&mut self, user_id: Option<String>) {
        let (now, until) = (Instant::now(), Instant::now() + HOLD);
        self.held.retain(|_, until| *until > now);
        match user_id {
            Some(user_id) => drop(self.held.insert(user_id, until)),
            None => self.all_held = until,
        }
    }

    fn release(&mut self, user_id: Option<&str>) {
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
    fn what_is_held_stays_until_it_is_due_or_asked_for() {
        let mut pending = Pending { taken: HashMap::new(), held: HashMap::new(), all_held: Instant::now() };
        pending.hold(Some("held".into()));
        for user in ["held", "free"] {
            pending.take(user.into(), EntryId(1, 0));
        }
        let users = |due: Vec<(String, Vec<EntryId>)>| due.into_iter().map(|(user, _)| user).collect::<Vec<_>>();
        assert_eq!(users(pending.due(Instant::now())), ["free"]);
        assert_eq!(users(pending.due(Instant::now() + HOLD)), ["held"]);
        pending.hold(None);
        pending.take("free".into(), EntryId(2, 0));
        assert!(pending.due(Instant::now()).is_empty());
        pending.release(Some("free"));
        assert_eq!(users(pending.due(Instant::now())), ["free"]);
        assert_eq!(pending.next_due(), None);
    }
}
