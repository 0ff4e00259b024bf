//! One node among others, with one thing wrong: in what it tells them, in what it does at their word, and in what it does
//! without its store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use notify_server::{
    Collaborators,
    cluster::{Arrived, Destination, Local, Peers, Presence, Sessions, Taken},
    model::{EntryId, Queue, Queued, StoreError},
};

/// What is wrong with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What the others hand it is handed to nobody.
    Deaf,
    /// Where else a user is is not asked.
    PresenceIgnored,
    /// Its own clients are not told to the others.
    Unseen,
    /// Its clients that acknowledge are told as such that do not.
    EntersAsPlain,
    /// Where the user is is asked in the store for every event.
    AlwaysAsks,
    /// What a client has taken stays in the store.
    RemovesNothing,
    /// What is handed to it is taken from the store first, whoever would have to acknowledge it.
    RemovesBeforehand,
    /// What no client here has taken is put into the queue, where it is.
    PutsBack,
    /// Every other event is handed over late.
    HoldsBack,
    /// Nobody's confirmation is waited for.
    WaitsForNobody,
    /// Everything counts as taken by somebody.
    TakenByAll,
    /// A node that does not answer is waited for without end, almost.
    WaitsLong,
    /// The others are not told of the end of a session.
    EndsUntold,
    /// They are told after a while.
    EndsToldLate,
    /// What it missed is not looked for.
    CatchesUpNever,
    /// What it missed is looked for in the queue alone, which others have emptied.
    CatchesUpByQueue,
    /// Whether the sessions still hold is not looked at.
    VerifiesNothing,
    /// It always says that it is ready.
    AlwaysReady,
    /// It is never ready again.
    NeverReadyAgain,
    /// What could not be routed is accepted.
    AcceptsAnyway,
    /// From some time on everything is accepted, and nothing routed.
    RoutesNothingMore,
    /// The process dies of what could not be routed.
    DiesOfIt,
    /// What could not be routed is refused after a long time.
    Hangs,
    /// While it is out of touch as far as some users are concerned, nothing is routed for anybody.
    AllOrNothing,
    /// Once it was, what is to be routed is accepted, and nothing becomes of it.
    LosesAfterwards,
    /// Once it was, nothing is routed any more.
    RefusesAfterwards,
    /// It closes whatever rests on a session that is not there, lost or revoked.
    LostIsRevoked,
    /// That the others could not be told of the end of a session is not said.
    EndsInVain,
}

/// How late is late.
const LATE: Duration = Duration::from_millis(60);
const TOO_LATE: Duration = Duration::from_millis(3_500);
/// A node that takes longer than this stands still.
const SLOW: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(7);
/// How often to look whether it is ready.
const LOOK: Duration = Duration::from_millis(5);

/// The parts, with a faulty node among them.
pub(crate) fn breaks(sound: Collaborators, fault: Fault) -> Collaborators {
    let queue = sound.queue.clone();
    let faulty = |peers| -> Arc<dyn Peers> { Arc::new(Faulty::new(peers, queue, fault)) };
    Collaborators { peers: sound.peers.map(faulty), ..sound }
}

/// The parts, with a node that routes nothing from the time on when `ending` is set, and says that it did.
pub(crate) fn silent_from(sound: Collaborators, ending: Arc<AtomicBool>) -> Collaborators {
    let queue = sound.queue.clone();
    let faulty = |peers| -> Arc<dyn Peers> {
        Arc::new(Faulty { ending, ..Faulty::new(peers, queue, Fault::RoutesNothingMore) })
    };
    Collaborators { peers: sound.peers.map(faulty), ..sound }
}

/// A node with a fault.
pub(crate) struct Faulty {
    peers: Arc<dyn Peers>,
    queue: Arc<dyn Queue>,
    fault: Fault,
    was_ready: Arc<AtomicBool>,
    was_away: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
}

impl Faulty {
    fn new(peers: Arc<dyn Peers>, queue: Arc<dyn Queue>, fault: Fault) -> Self {
        Self { peers, queue, fault, was_ready: Arc::default(), was_away: Arc::default(), ending: Arc::default() }
    }

    /// Notes that the node was ready once and then was not.
    fn watch(&self) {
        let (peers, was_ready, was_away) = (self.peers.clone(), self.was_ready.clone(), self.was_away.clone());
        tokio::spawn(async move {
            loop {
                match peers.ready() {
                    Ok(()) => was_ready.store(true, Ordering::SeqCst),
                    Err(_) => drop(was_away.fetch_or(was_ready.load(Ordering::SeqCst), Ordering::SeqCst)),
                };
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

#[async_trait]
impl Peers for Faulty {
    async fn check(&self) -> Result<(), StoreError> {
        self.peers.check().await
    }

    fn join(&self, local: Arc<dyn Local>) {
        if matches!(self.fault, Fault::NeverReadyAgain | Fault::LosesAfterwards | Fault::RefusesAfterwards) {
            self.watch();
        }
        let (queue, fault, count) = (self.queue.clone(), self.fault, AtomicUsize::new(0));
        self.peers.join(Arc::new(Here { local, queue, fault, count }));
    }

    fn ready(&self) -> Result<(), StoreError> {
        match self.fault {
            Fault::AlwaysReady => Ok(()),
            Fault::NeverReadyAgain if self.was_away.load(Ordering::SeqCst) => Err(StoreError::NotJoined),
            _ => self.peers.ready(),
        }
    }

    async fn enter(&self, user_id: &str, acknowledges: bool) -> Result<Presence, StoreError> {
        match self.fault {
            Fault::Unseen => Ok(Presence::new(EntryId(0, 0), false, || {})),
            Fault::EntersAsPlain => self.peers.enter(user_id, false).await,
            _ => self.peers.enter(user_id, acknowledges).await,
        }
    }

    fn destination(&self, user_id: &str) -> Destination {
        match self.fault {
            Fault::PresenceIgnored => Destination::Here,
            Fault::AlwaysAsks => Destination::Elsewhere,
            _ => self.peers.destination(user_id),
        }
    }

    async fn route(&self, user_id: &str, payloads: &[&str]) -> Result<Taken, StoreError> {
        let events = payloads.len();
        let nobody = move || -> Taken { Box::pin(async move { vec![false; events] }) };
        if self.fault == Fault::RoutesNothingMore && self.ending.load(Ordering::SeqCst) {
            return Ok(nobody());
        }
        match (self.fault, self.was_away.load(Ordering::SeqCst)) {
            (Fault::AllOrNothing, _) => self.peers.ready()?,
            (Fault::LosesAfterwards, true) => return Ok(nobody()),
            (Fault::RefusesAfterwards, true) => return Err(StoreError::NotJoined),
            _ => {}
        }
        let taken = match (self.peers.route(user_id, payloads).await, self.fault) {
            (Ok(taken), _) => taken,
            (Err(_), Fault::AcceptsAnyway) => return Ok(nobody()),
            (Err(_), Fault::DiesOfIt) => std::process::abort(),
            (Err(error), Fault::Hangs) => {
                tokio::time::sleep(LONG).await;
                return Err(error);
            }
            (Err(error), _) => {
                self.was_away.store(true, Ordering::SeqCst);
                return Err(error);
            }
        };
        Ok(match self.fault {
            Fault::WaitsForNobody => {
                tokio::spawn(taken);
                nobody()
            }
            Fault::TakenByAll => Box::pin(async move { vec![true; taken.await.len()] }),
            Fault::WaitsLong => Box::pin(async move {
                let began = Instant::now();
                let taken = taken.await;
                if began.elapsed() > SLOW {
                    tokio::time::sleep(LONG).await;
                }
                taken
            }),
            _ => taken,
        })
    }

    async fn missed(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        match self.fault {
            Fault::CatchesUpByQueue => self.queue.read(user_id).await,
            _ => self.peers.missed(user_id).await,
        }
    }

    fn remove(&self, user_id: &str, entry: EntryId) {
        if self.fault != Fault::RemovesNothing {
            self.peers.remove(user_id, entry);
        }
    }

    async fn flush(&self, user_id: &str) {
        self.peers.flush(user_id).await;
    }

    async fn end_session(&self, session_id: &str, but_for: Option<&str>) -> Result<(), StoreError> {
        match self.fault {
            Fault::EndsUntold => Ok(()),
            Fault::EndsToldLate => {
                let (peers, session, owner) = (self.peers.clone(), session_id.to_owned(), but_for.map(str::to_owned));
                tokio::spawn(async move {
                    tokio::time::sleep(TOO_LATE).await;
                    peers.end_session(&session, owner.as_deref()).await
                });
                Ok(())
            }
            Fault::EndsInVain => {
                self.peers.end_session(session_id, but_for).await.ok();
                Ok(())
            }
            _ => self.peers.end_session(session_id, but_for).await,
        }
    }

    fn epoch(&self, session_id: &str) -> u64 {
        if self.fault == Fault::LostIsRevoked { 0 } else { self.peers.epoch(session_id) }
    }

    async fn is_still(&self, session_id: &str, epoch: u64) -> Result<bool, StoreError> {
        match self.fault {
            Fault::LostIsRevoked => Ok(true),
            _ => self.peers.is_still(session_id, epoch).await,
        }
    }

    async fn leave(&self) {
        self.peers.leave().await;
    }
}

/// What the others ask of a node with a fault.
struct Here {
    local: Arc<dyn Local>,
    queue: Arc<dyn Queue>,
    fault: Fault,
    count: AtomicUsize,
}

#[async_trait]
impl Local for Here {
    async fn receive(&self, user_id: &str, events: Vec<Arrived>) -> Vec<bool> {
        match self.fault {
            Fault::Deaf => return vec![false; events.len()],
            Fault::RemovesBeforehand => {
                let entries: Vec<_> = events.iter().map(|event| event.entry).collect();
                self.queue.confirm(user_id, &entries, 0).await.ok();
            }
            Fault::HoldsBack if self.count.fetch_add(1, Ordering::SeqCst) % 2 == 1 => {
                let (local, user) = (self.local.clone(), user_id.to_owned());
                let taken = vec![true; events.len()];
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    local.receive(&user, events).await
                });
                return taken;
            }
            Fault::PutsBack => {
                let taken = self.local.receive(user_id, events.clone()).await;
                let left = events.iter().zip(&taken).filter(|(_, taken)| !**taken);
                let left: Vec<_> = left.map(|(event, _)| event.payload.get()).collect();
                if !left.is_empty() {
                    self.queue.append(user_id, &left).await.ok();
                }
                return taken;
            }
            _ => {}
        }
        self.local.receive(user_id, events).await
    }

    async fn settle(&self, user_id: &str) {
        self.local.settle(user_id).await;
    }

    async fn catch_up(&self, user_id: &str) -> Result<(), StoreError> {
        match self.fault {
            // A deaf node that joins anew would hear of it by the store.
            Fault::CatchesUpNever | Fault::Deaf => Ok(()),
            _ => self.local.catch_up(user_id).await,
        }
    }

    fn end_session(&self, session_id: &str, but_for: Option<&str>) {
        self.local.end_session(session_id, but_for);
    }

    async fn verify_sessions(&self, which: Sessions<'_>) -> Result<(), StoreError> {
        match self.fault {
            Fault::VerifiesNothing => Ok(()),
            _ => self.local.verify_sessions(which).await,
        }
    }
}
