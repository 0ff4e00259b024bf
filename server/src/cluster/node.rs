//! This process as one node among others over Redis: the face of [`Peers`]. What comes in is `inbox`'s, the lease `member`'s.

use std::{
    fmt::Display,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    Destination, Local, Peers, Presence, Taken,
    inbox::Inbox,
    member, message, removals,
    removals::Removals,
    replies::PendingReplies,
    users::Users,
    word::{Word, Words},
};
use crate::{
    locks::KeyedLocks,
    model::{EntryId, Queued, StoreError},
    mutex::Mutex,
    store::redis::{RedisStore, partitions::Partitions, peers::Link},
};

/// How long an emitter waits for the nodes to hand over what they were given. It is in the store meanwhile.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How long a client that connects waits for the other nodes to take note, and for this node to join.
const NOTE: Duration = Duration::from_secs(2);

/// How long to wait before a departure is told again to a store that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// This process over Redis: a node for each partition of the users.
pub struct Cluster {
    partitions: Partitions,
    nodes: Vec<Arc<Node>>,
    work: Mutex<Vec<Work>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What a node works on, once it has begun.
type Work = (Arc<Node>, removals::Work, mpsc::UnboundedReceiver<String>);

/// A stretch of time in which nothing that was said to this node was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    /// Counts them from 1; 0 is none.
    pub(super) number: u64,
    pub(super) id: Uuid,
}

pub(super) const NOT_JOINED: Membership = Membership { number: 0, id: Uuid::nil() };

pub(super) struct Node {
    pub(super) link: Arc<Link>,
    /// Whether it is told of the end of a session.
    pub(super) is_told_of: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub(super) users: Users,
    pub(super) replies: PendingReplies,
    pub(super) removals: Removals,
    pub(super) inbox: Inbox,
    pub(super) membership: watch::Sender<Membership>,
    /// Whether the store has answered the last heartbeat, and whether everybody here is known to have missed nothing.
    pub(super) answers: AtomicBool,
    pub(super) settled: AtomicBool,
    /// Whether these users are about to lie elsewhere, or do so since a moment ago: others may have found the place already, and what
    /// they have stored there comes first.
    moves: AtomicBool,
    /// How often the store was found to have lost its data, and what it calls the epoch since.
    epoch: Mutex<(u64, Option<String>)>,
    /// Why this node could not join, where the reason was that it does not hear.
    unheard: Mutex<Option<StoreError>>,
    local: OnceLock<Arc<dyn Local>>,
    /// One at a time tells the store of a user, so that it hears of changes in their order.
    telling: KeyedLocks,
    leaving: mpsc::UnboundedSender<String>,
    words: Arc<Words>,
    /// When the process began, by which all partitions keep time.
    pub(super) began: Instant,
}

impl Cluster {
    /// This process, among those that share this Redis.
    #[must_use]
    pub fn new(store: &RedisStore) -> Self {
        let (partitions, links) = (store.partitions().clone(), store.links());
        let (words, began) = (Words::new(links.len()), Instant::now());
        let node = |(number, link)| {
            let partitions = partitions.clone();
            let is_told_of = move |session_id: &str| partitions.number(session_id) == number;
            Node::new(link, Box::new(is_told_of), words.clone(), began)
        };
        let work: Vec<_> = links.into_iter().enumerate().map(node).collect();
        let nodes = work.iter().map(|(node, ..)| node.clone()).collect();
        Self { partitions, nodes, work: Mutex::new(work), tasks: Mutex::default() }
    }

    /// The node of a user's partition, or of a session's.
    fn of(&self, id: &str) -> &Arc<Node> {
        &self.nodes[self.partitions.number(id)]
    }
}

impl Node {
    fn new(link: Link, is_told_of: Box<dyn Fn(&str) -> bool + Send + Sync>, words: Arc<Words>, began: Instant) -> Work {
        let (removals, taken) = Removals::new();
        let (leaving, left) = mpsc::unbounded_channel();
        let node = Self {
            link: Arc::new(link),
            is_told_of,
            users: Users::new(),
            replies: PendingReplies::default(),
            removals,
            inbox: Inbox::default(),
            membership: watch::Sender::new(NOT_JOINED),
            answers: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            moves: AtomicBool::new(false),
            epoch: Mutex::default(),
            unheard: Mutex::default(),
            local: OnceLock::new(),
            telling: KeyedLocks::default(),
            leaving,
            words,
            began,
        };
        (Arc::new(node), taken, left)
    }

    /// Logs something about this node.
    pub(super) fn says(&self, word: Word, about: &(dyn Display + Sync)) {
        self.words.say(word, about);
    }

    /// # Errors
    /// Where it has not joined, has not caught up, or has lost touch.
    fn ready(&self) -> Result<(), StoreError> {
        if self.joined().number > 0 && self.settled.load(Ordering::SeqCst) && self.answers.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(self.unheard.lock().clone().unwrap_or(StoreError::NotJoined))
    }
}

#[async_trait]
impl Peers for Cluster {
    async fn check(&self) -> Result<(), StoreError> {
        self.nodes[0].link.check().await
    }

    fn join(&self, local: Arc<dyn Local>) {
        for (node, taken, left) in self.work.lock().drain(..) {
            node.local.set(local.clone()).ok();
            let tasks = [
                tokio::spawn(removals::run(taken, node.link.clone())).abort_handle(),
                tokio::spawn(tell_departures(node.clone(), left)).abort_handle(),
                tokio::spawn(member::run(node)).abort_handle(),
            ];
            self.tasks.lock().extend(tasks);
        }
    }

    fn ready(&self) -> Result<(), StoreError> {
        let problems = self.nodes.iter().enumerate().filter_map(|(number, node)| Some((number, node.ready().err()?)));
        let problems: Vec<_> = problems.collect();
        let Some((_, first)) = problems.first() else { return Ok(()) };
        if self.nodes.len() == 1 {
            return Err(first.clone());
        }
        let which = problems.iter().map(|(number, _)| *number).collect();
        Err(StoreError::Partitions { which, all: self.nodes.len(), first: Box::new(first.clone()) })
    }

    async fn enter(&self, user_id: &str, acknowledges: bool) -> Result<Presence, StoreError> {
        self.of(user_id).clone().enter(user_id, acknowledges).await
    }

    fn destination(&self, user_id: &str) -> Destination {
        let node = self.of(user_id);
        match node.users.destination(user_id, node.joined().number) {
            _ if node.moves.load(Ordering::SeqCst) => Destination::Elsewhere,
            // The store does not answer, so it need not be asked.
            Destination::Unsure if !node.answers.load(Ordering::SeqCst) => Destination::Here,
            destination => destination,
        }
    }

    async fn route(&self, user_id: &str, payloads: &[&str]) -> Result<Taken, StoreError> {
        let (node, events) = (self.of(user_id).clone(), payloads.len());
        let question = node.replies.open();
        // A store that does not answer is not waited for.
        if node.joined().number == 0 && !node.is_there() {
            return Err(StoreError::NotJoined);
        }
        let mut gone = 0;
        let (routed, joined) = loop {
            let joined = node.joined_after(gone).await?;
            let body = message::events(joined.id, question.n, user_id, payloads);
            match node.link.route(joined.id, user_id, payloads, &body).await? {
                Some(routed) => break (routed, joined),
                None => gone = joined.number,
            }
        };
        let user_id = user_id.to_owned();
        Ok(Box::pin(async move {
            let mut membership = node.membership.subscribe();
            let taken = tokio::select! {
                biased;
                taken = question.gather(routed.heard, events, HAND_OVER) => taken,
                // Answers go to who has asked, and that is nobody any more.
                _ = membership.wait_for(|now| now.number != joined.number) => vec![false; events],
            };
            let nobody = !taken.contains(&true);
            // Nodes have heard, so the script did not apply the cap; but the clients there had gone.
            let uncapped = routed.heard > 0 && nobody && !routed.acknowledged;
            if uncapped && let Err(error) = node.link.trim(&user_id).await {
                tracing::debug!(%error, "a queue could not be cut to its cap");
            }
            taken
        }))
    }

    async fn missed(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        self.of(user_id).link.missed(user_id).await
    }

    fn remove(&self, user_id: &str, entry: EntryId) {
        self.of(user_id).removals.take(user_id, entry);
    }

    async fn flush(&self, user_id: &str) {
        self.of(user_id).removals.flush(Some(user_id)).await;
    }

    async fn end_session(&self, session_id: &str, but_for: Option<&str>) -> Result<(), StoreError> {
        // Each process listens in each partition; one that is out of touch there verifies just these sessions again.
        self.of(session_id).link.tell_all(&message::ended(session_id, but_for)).await
    }

    fn epoch(&self, session_id: &str) -> u64 {
        self.of(session_id).epoch.lock().0
    }

    async fn is_still(&self, session_id: &str, epoch: u64) -> Result<bool, StoreError> {
        let node = self.of(session_id);
        let now = node.link.epoch().await?;
        Ok(*node.epoch.lock() == (epoch, now))
    }

    async fn leave(&self) {
        let flushed = future::join_all(self.nodes.iter().map(|node| node.removals.flush(None)));
        timeout(NOTE, flushed).await.ok();
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        future::join_all(self.nodes.iter().map(|node| async {
            let Membership { number, id } = node.membership.send_replace(NOT_JOINED);
            if number > 0
                && let Err(error) = node.link.end(id).await
            {
                tracing::warn!(%error, "the other nodes will take this one for alive until its lease ends");
            }
        }))
        .await;
    }
}

impl Node {
    /// Takes note of whether the store has answered.
    pub(super) fn note_answer(&self, error: Option<&StoreError>) {
        self.moves.store(error.is_some_and(|error| self.link.moves(error)), Ordering::SeqCst);
        self.answers.store(error.is_none(), Ordering::SeqCst);
    }

    /// Takes note that nothing is heard any more: where that is because of a move, others go on with the store.
    pub(super) fn note_ended(&self) {
        self.moves.store(self.link.has_moved(), Ordering::SeqCst);
    }

    /// Whether there is a store, though it may have to be found.
    fn is_there(&self) -> bool {
        self.answers.load(Ordering::SeqCst) || self.moves.load(Ordering::SeqCst)
    }

    pub(super) fn joined(&self) -> Membership {
        *self.membership.borrow()
    }

    /// The membership, as soon as there is one that comes after another.
    async fn joined_after(&self, number: u64) -> Result<Membership, StoreError> {
        let mut membership = self.membership.subscribe();
        let joined = timeout(NOTE, membership.wait_for(|joined| joined.number > number)).await;
        joined.map_err(|_| StoreError::NotJoined)?.map(|joined| *joined).map_err(|_| StoreError::Closed)
    }

    /// Takes note of the epoch in which this node has joined; true where the store has lost its data since it joined before.
    pub(super) fn note_epoch(&self, now: String) -> bool {
        let mut epoch = self.epoch.lock();
        let lost = epoch.1.replace(now).is_some_and(|before| epoch.1.as_ref() != Some(&before));
        epoch.0 += u64::from(lost);
        lost
    }

    /// Takes note of why this node could not join; of nothing where it could.
    pub(super) fn note_unheard(&self, why: Option<&StoreError>) {
        let unheard = why.filter(|why| matches!(why, StoreError::Deaf(_))).cloned();
        *self.unheard.lock() = unheard;
    }

    pub(super) fn local(&self) -> Option<&Arc<dyn Local>> {
        self.local.get()
    }

    async fn enter(self: Arc<Self>, user_id: &str, acknowledges: bool) -> Result<Presence, StoreError> {
        let mut joined = self.joined_after(0).await?;
        self.users.arrive(user_id, acknowledges, joined.number);
        // The client counts from here on. Where this future is dropped, `departs` goes with it and undoes that.
        let (node, user) = (self.clone(), user_id.to_owned());
        let departs = Presence::new(EntryId(0, 0), false, move || {
            node.users.depart(&user, acknowledges);
            node.leaving.send(user).ok();
        });
        let question = self.replies.open();
        let (newest, acknowledged_elsewhere, heard) = loop {
            let tell = message::shared(Some((joined.id, question.n)), user_id);
            let lock = self.telling.lock(user_id).await;
            if let Some(entered) = self.register(user_id, Some(&tell)).await? {
                break entered;
            }
            drop(lock);
            joined = self.joined_after(joined.number).await?;
        };
        // Under nobody's lock: the other nodes may be waiting for this one.
        question.gather(heard, 0, NOTE).await;
        Ok(Presence::new(newest, acknowledged_elsewhere, move || departs.end()))
    }

    /// Tells the store that a user is here, and takes note of where else. Under the user's lock of telling.
    async fn register(&self, user_id: &str, tell: Option<&str>) -> Result<Option<(EntryId, bool, usize)>, StoreError> {
        let (joined, heard) = (self.joined(), self.users.heard(user_id));
        let Some(mode) = self.users.mode(user_id) else { return Ok(None) };
        let Some(entered) = self.link.enter(joined.id, user_id, mode, tell).await? else { return Ok(None) };
        self.users.note(user_id, joined.number, mode, entered.elsewhere > 0, heard);
        Ok(Some((entered.newest, entered.acknowledged_elsewhere, entered.heard)))
    }

    /// Tells the store how a user is here now, where that is not what it was told last; the other nodes, too, with `anew`.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    pub(super) async fn tell_of(&self, user_id: &str, anew: bool) -> Result<(), StoreError> {
        let _lock = self.telling.lock(user_id).await;
        let joined = self.joined();
        let told = self.users.registered(user_id, joined.number);
        match self.users.mode(user_id) {
            Some(mode) if anew || told != Some(mode) => {
                let tell = anew.then(|| message::shared(None, user_id));
                self.register(user_id, tell.as_deref()).await?;
            }
            Some(_) => {}
            None => {
                if told.is_some() {
                    // Or the next node would read a queue that still has what a client here was given.
                    self.removals.flush(Some(user_id)).await;
                    self.link.leave(joined.id, user_id).await?;
                }
                self.users.left(user_id);
            }
        }
        Ok(())
    }
}

/// Tells the store of those whose last client has gone, or last client that acknowledges.
async fn tell_departures(node: Arc<Node>, mut left: mpsc::UnboundedReceiver<String>) {
    while let Some(user_id) = left.recv().await {
        let node = node.clone();
        tokio::spawn(async move {
            if let Err(error) = node.tell_of(&user_id, false).await {
                tracing::debug!(%error, "a departure could not be told yet");
                tokio::time::sleep(RETRY).await;
                node.leaving.send(user_id).ok();
            }
        });
    }
}
