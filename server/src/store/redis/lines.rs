//! The way to the server that has a key: the same for all, or as a Redis Cluster tells. Knows nothing of keys and commands.

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, ServerErrorKind};
use tokio::time::{Instant, sleep};

use super::{
    TIMEOUT,
    connect::Heard,
    line::{Ask, Line, Pair, Written},
    topology::Topology,
};
use crate::model::StoreError;

/// How long to wait before what was refused is asked again, of a Redis Cluster in which something moves.
const REST: Duration = Duration::from_millis(25);

/// What leads to all servers. Cheap to clone.
#[derive(Clone)]
pub(super) enum Lines {
    /// There is one.
    One(Pair),
    /// There are as many as the cluster says.
    Many(Arc<Topology>),
}

impl Lines {
    /// The way to whoever has this slot.
    pub(super) fn way(&self, slot: u16) -> Way {
        Way { lines: self.clone(), slot }
    }

    /// To each server that has something; none where nobody tells who has.
    pub(super) async fn all(&self) -> Vec<Line> {
        match self {
            Self::One(pair) => vec![pair.line.clone()],
            Self::Many(topology) => topology.pairs().await.into_iter().map(|pair| pair.line).collect(),
        }
    }

    /// Has it found out who has what, where that may have changed.
    pub(super) fn look_again(&self) {
        if let Self::Many(topology) = self {
            topology.look_again();
        }
    }
}

/// The way to whoever has a slot.
pub(crate) struct Way {
    lines: Lines,
    slot: u16,
}

impl Way {
    /// The answer to a command.
    ///
    /// # Errors
    /// Where there is none in time, or it is an error.
    pub(crate) async fn ask<T>(&self, command: &impl Ask<T>) -> Result<T, StoreError> {
        self.patiently(|| async { self.pair().await?.line.ask(command).await }).await
    }

    /// The same for a write that counts when replicas have it.
    ///
    /// # Errors
    /// Where nothing is known of it.
    pub(crate) async fn write<T>(&self, command: &impl Ask<T>) -> Result<Written<T>, StoreError> {
        self.patiently(|| async { self.pair().await?.writer.ask(command).await }).await
    }

    /// Listens to channels, at the very server that is written to.
    ///
    /// # Errors
    /// Where there is no connection in time.
    pub(super) async fn listen(&self, channels: &[String]) -> Result<Heard, StoreError> {
        self.patiently(|| self.listen_once(channels)).await
    }

    /// Asks, and asks again who is refused because something moves: where it is sure that nothing was done, and there is time left.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let ends = Instant::now() + TIMEOUT;
        loop {
            let answer = ask().await;
            let (Lines::Many(topology), Err(error)) = (&self.lines, &answer) else { return answer };
            topology.look_again();
            if !was_not_done(error) || Instant::now() + REST >= ends {
                return answer;
            }
            sleep(REST).await;
        }
    }

    async fn listen_once(&self, channels: &[String]) -> Result<Heard, StoreError> {
        let line = self.pair().await?.line;
        let at = line.address().await?;
        match &self.lines {
            Lines::One(_) => line.connector().subscribe(&at, channels).await,
            Lines::Many(topology) => topology.subscriptions_at(&at).listen(line.connector(), &at, channels).await,
        }
    }

    /// Whether what is there will do. What is not there, or is a replica yet, may do later.
    ///
    /// # Errors
    /// Where it will not.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        match &self.lines {
            Lines::One(pair) => match pair.line.connector().connect().await {
                Err(error @ (StoreError::Unsupported(_) | StoreError::TooOld(_) | StoreError::NotSentinel)) => {
                    Err(error)
                }
                _ => Ok(()),
            },
            Lines::Many(topology) => topology.check().await,
        }
    }

    /// Whether an error tells that what is asked for is on its way to another server of a cluster. Who does not hear has asked where it
    /// was.
    pub(super) fn moves(&self, error: &StoreError) -> bool {
        matches!(self.lines, Lines::Many(_)) && (matches!(error, StoreError::Deaf(_)) || lies_elsewhere(error))
    }

    /// Whether whoever hears nothing more does so because the slot has gone elsewhere, and not because a server has.
    pub(super) fn has_moved(&self) -> bool {
        matches!(&self.lines, Lines::Many(topology) if topology.is_listened_to(self.slot))
    }

    /// Connects anew with the next command.
    pub(super) async fn give_up(&self) {
        self.lines.look_again();
        let Ok(pair) = self.pair().await else { return };
        pair.line.give_up();
        if let Lines::Many(topology) = &self.lines
            && let Ok(at) = pair.line.address().await
        {
            topology.subscriptions_at(&at).give_up_if_silent();
        }
    }

    pub(super) async fn pair(&self) -> Result<Pair, StoreError> {
        match &self.lines {
            Lines::One(pair) => Ok(pair.clone()),
            Lines::Many(topology) => topology.pair(self.slot).await,
        }
    }
}

/// Whether a server of a cluster has refused because others have what was asked for, or will have it, or none has it now.
fn was_not_done(error: &StoreError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
    let StoreError::Redis(refused) = error else { return false };
    lies_elsewhere(error)
        || refused.is_connection_refusal()
        || matches!(refused.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly))
}

/// Whether it is another that has it, or will.
fn lies_elsewhere(error: &StoreError) -> bool {
    use ServerErrorKind::{Ask, Moved, TryAgain};
    let StoreError::Redis(error) = error else { return false };
    // A lease that lies elsewhere already: scripts look at leases before they write what must not be written twice.
    error.detail().is_some_and(|detail| detail.contains("non local key"))
        || matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain))
}
