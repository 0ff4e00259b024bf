//! How a process ends, and what it does to its clients without its store, with one thing wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use notify_server::{
    App, Collaborators,
    cluster::Peers,
    model::{Backlog, EntryId, Queue, Queued, Reinserted, StoreError},
};
use socketioxide::SocketIo;
use tokio::signal::unix::Signal;
use uuid::Uuid;

use crate::{nodes, queue::made_up};

/// What is wrong with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It takes whoever comes, as long as there are files.
    TakesEverybody,
    /// SIGTERM ends it on the spot.
    EndsAtOnce,
    /// It ends in order, and says that it did not.
    EndsWithAnError,
    /// Clients are sent away from the namespace first, which they take as meant for them.
    SendsAway,
    /// It goes on accepting for a while.
    AcceptsOn,
    /// It waits for its clients to go by themselves.
    WaitsForClients,
    /// Clients are sent away first, and what is emitted from then on is accepted and not stored.
    StoresNothingMore,
    /// It closes its clients' connections when the store is away.
    DropsClients,
}

/// How long it goes on accepting.
const ON: Duration = Duration::from_secs(3);
/// How long what was sent may take to arrive.
const SENT: Duration = Duration::from_millis(200);
/// How often the store is asked.
const LOOK: Duration = Duration::from_millis(250);

/// A process with a fault, or with none.
#[derive(Clone)]
pub(crate) struct Process {
    fault: Option<Fault>,
    ending: Arc<AtomicBool>,
}

impl Process {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, ending: Arc::default() }
    }

    /// Puts the fault into the parts, where it belongs there.
    pub(crate) fn breaks(&self, sound: Collaborators) -> Collaborators {
        match self.fault {
            Some(Fault::StoresNothingMore) => {
                let queue = Arc::new(Ending { queue: sound.queue.clone(), ending: self.ending.clone() });
                nodes::silent_from(Collaborators { queue, ..sound }, self.ending.clone())
            }
            _ => sound,
        }
    }

    /// Begins what goes on beside the application.
    pub(crate) fn accompanies(&self, app: &App, queue: Arc<dyn Queue>, peers: Option<Arc<dyn Peers>>) {
        if self.fault == Some(Fault::DropsClients) {
            let io = app.io.clone();
            tokio::spawn(async move {
                loop {
                    let heard = peers.as_ref().is_none_or(|peers| peers.ready().is_ok());
                    if !heard || queue.probe().await.is_err() {
                        send_away(&io);
                    }
                    tokio::time::sleep(LOOK).await;
                }
            });
        }
    }

    /// Completes when the application is to end.
    pub(crate) async fn told_to_end(self, mut terminated: Signal, io: SocketIo) {
        terminated.recv().await;
        self.ending.store(true, Ordering::SeqCst);
        match self.fault {
            Some(Fault::EndsAtOnce) => std::process::exit(0),
            Some(Fault::SendsAway | Fault::StoresNothingMore) => {
                send_away(&io);
                tokio::time::sleep(SENT).await;
            }
            Some(Fault::AcceptsOn) => tokio::time::sleep(ON).await,
            Some(Fault::WaitsForClients) => std::future::pending().await,
            _ => {}
        }
    }

    /// Whether connections and heads have no bounds.
    pub(crate) fn takes_everybody(&self) -> bool {
        self.fault == Some(Fault::TakesEverybody)
    }

    /// # Errors
    /// Where it is to say that it did not end in order.
    pub(crate) fn ended(&self) -> Result<(), &'static str> {
        if self.fault == Some(Fault::EndsWithAnError) { Err("it did not end in order") } else { Ok(()) }
    }
}

fn send_away(io: &SocketIo) {
    let sockets = io.of("/notifications").map(|namespace| namespace.sockets()).unwrap_or_default();
    for socket in sockets {
        socket.disconnect().ok();
    }
}

/// Stores nothing once the process ends.
struct Ending {
    queue: Arc<dyn Queue>,
    ending: Arc<AtomicBool>,
}

#[async_trait]
impl Queue for Ending {
    async fn append(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        if self.ending.load(Ordering::SeqCst) {
            return Ok(made_up(payloads));
        }
        self.queue.append(user_id, payloads).await
    }

    async fn reinsert(&self, user_id: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        if self.ending.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.queue.reinsert(user_id, events).await
    }

    async fn read(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        self.queue.read(user_id).await
    }

    async fn drain(&self, user_id: &str, drain: Uuid) -> Result<Option<Vec<Queued>>, StoreError> {
        self.queue.drain(user_id, drain).await
    }

    async fn renew_drain(&self, user_id: &str, drain: Uuid) {
        self.queue.renew_drain(user_id, drain).await;
    }

    async fn release(&self, user_id: &str, drain: Uuid) {
        self.queue.release(user_id, drain).await;
    }

    async fn remove(&self, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        self.queue.remove(user_id, ids, drain).await
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.queue.keep(user_id, payloads).await
    }

    async fn backlog(&self, user_id: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.queue.backlog(user_id, after, trim).await
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.queue.confirm(user_id, ids, told).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.queue.probe().await
    }
}
