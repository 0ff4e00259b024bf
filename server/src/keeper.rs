//! Waits for what a client acknowledges, and takes it from the store. Knows nothing of rooms or turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use serde::de::IgnoredAny;
use socketioxide::{AckError, ack::AckStream};
use tokio::sync::mpsc;

use crate::{
    queue::{AckQueue, EntryId},
    wire::Session,
};

/// How long to wait before the store is asked again to remove what was acknowledged.
const RETRY: Duration = Duration::from_secs(1);

/// What a client sends back; what is in it does not matter.
pub(crate) type Acknowledgement = AckStream<IgnoredAny>;

/// The way to the task that waits for one client. The task ends when this is dropped and nothing is awaited any more.
pub(crate) struct Keeper {
    expected: mpsc::UnboundedSender<Expected>,
    in_flight: Arc<AtomicUsize>,
    _present: Present,
}

/// How many acknowledging clients are here, so that where there are none nobody need look.
#[derive(Clone, Default)]
pub(crate) struct Acknowledging(Arc<AtomicUsize>);

impl Acknowledging {
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::SeqCst);
        Present(self.clone())
    }
}

struct Present(Acknowledging);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Expected {
    ids: Vec<EntryId>,
    told: u64,
    acknowledgement: Acknowledgement,
}

impl Keeper {
    pub(crate) fn start(user_id: String, store: Arc<dyn AckQueue>, wire: Arc<Session>, all: &Acknowledging) -> Self {
        let (expected, incoming) = mpsc::unbounded_channel();
        let in_flight = Arc::<AtomicUsize>::default();
        let task = Task { user_id, store, wire, in_flight: in_flight.clone(), done: Vec::new(), told: 0 };
        tokio::spawn(task.run(incoming));
        Self { expected, in_flight, _present: all.enter() }
    }

    /// These entries are removed once this is acknowledged, and `told` is taken from the count of what was lost.
    pub(crate) fn expect(&self, ids: Vec<EntryId>, told: u64, acknowledgement: Acknowledgement) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        // The task ends only after this was dropped.
        self.expected.send(Expected { ids, told, acknowledgement }).ok();
    }

    /// How much was sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }
}

struct Task {
    user_id: String,
    store: Arc<dyn AckQueue>,
    wire: Arc<Session>,
    in_flight: Arc<AtomicUsize>,
    /// What was acknowledged and is still in the store.
    done: Vec<EntryId>,
    told: u64,
}

impl Task {
    async fn run(mut self, mut incoming: mpsc::UnboundedReceiver<Expected>) {
        let mut awaited = FuturesUnordered::new();
        let mut here = true;
        loop {
            tokio::select! {
                next = incoming.recv(), if here => match next {
                    Some(expected) => awaited.push(settled(expected)),
                    None => here = false,
                },
                Some(outcome) = awaited.next() => self.note(outcome),
                () = tokio::time::sleep(RETRY), if self.has_done() => {}
                else => return,
            }
            // Whatever else has come meanwhile, so that it is removed in one step: the store is the slow part.
            while let Ok(expected) = incoming.try_recv() {
                awaited.push(settled(expected));
            }
            while let Some(Some(outcome)) = awaited.next().now_or_never() {
                self.note(outcome);
            }
            let removed = self.remove().await;
            if !here && awaited.is_empty() && !removed {
                // It comes again, under the same ids.
                return;
            }
        }
    }

    fn has_done(&self) -> bool {
        !self.done.is_empty() || self.told > 0
    }

    fn note(&mut self, (expected, outcome): (Outcome, Result<IgnoredAny, AckError>)) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.wire.make_room();
        match outcome {
            // An answer of any form is an answer.
            Ok(_) | Err(AckError::Decode(_)) => {
                self.done.extend(expected.0);
                self.told += expected.1;
            }
            Err(AckError::Timeout) => {
                tracing::debug!("a client that does not acknowledge is closed");
                self.wire.close();
            }
            Err(AckError::Socket(_)) => {}
        }
    }

    /// Takes from the store what was acknowledged; false where the store could not.
    async fn remove(&mut self) -> bool {
        if !self.has_done() {
            return true;
        }
        match self.store.confirm(&self.user_id, &self.done, self.told).await {
            Ok(()) => {
                self.done.clear();
                self.told = 0;
                true
            }
            Err(error) => {
                tracing::warn!(%error, events = self.done.len(), "what was acknowledged could not be removed yet");
                false
            }
        }
    }
}

/// Entries, and how many lost ones were told.
type Outcome = (Vec<EntryId>, u64);

async fn settled(expected: Expected) -> (Outcome, Result<IgnoredAny, AckError>) {
    let outcome = expected.acknowledgement.await;
    ((expected.ids, expected.told), outcome)
}
