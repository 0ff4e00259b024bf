//! The one thread that writes. Knows nothing of what it writes.
//!
//! It commits whatever has gathered while the last commit was being written, so that many emitters share one `fsync`; each
//! is answered when its own change is on disk (QUEUE-17).

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use redb::{Database, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use crate::{counts::COUNTS, model::StoreError};

/// How many changes may wait, and how many share a commit.
const BACKLOG: usize = 1_024;

/// How often what nobody will ask for again is thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// A change to the database; says whether there was anything to change.
pub(super) type Apply = Box<dyn Fn(&WriteTransaction) -> Result<bool, redb::Error> + Send>;

/// A change, and whom to tell.
struct Change {
    apply: Apply,
    done: oneshot::Sender<Result<bool, StoreError>>,
}

/// The way to the thread. The thread ends, and with it the last promise is kept, when this is dropped.
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `sweep` is applied now and then, along with other changes.
    pub(super) fn start(database: Arc<Database>, sweep: Apply) -> Self {
        let (changes, waiting) = mpsc::channel(BACKLOG);
        let thread = std::thread::spawn(move || write(&database, waiting, sweep));
        Self { changes: Some(changes), thread: Some(thread) }
    }

    /// Makes a change, and returns when it is on disk.
    pub(super) async fn change(
        &self,
        apply: impl Fn(&WriteTransaction) -> Result<bool, redb::Error> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let change = async {
            let (done, outcome) = oneshot::channel();
            let change = Change { apply: Box::new(apply), done };
            let changes = self.changes.as_ref().ok_or(StoreError::Closed)?;
            changes.send(change).await.map_err(|_| StoreError::Closed)?;
            outcome.await.map_err(|_| StoreError::Closed)?
        };
        COUNTS.store_call(change).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The thread that writes, until nobody can send it anything any more.
fn write(database: &Database, mut waiting: mpsc::Receiver<Change>, sweep: Apply) {
    let mut swept: Option<Instant> = None;
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while group.len() < BACKLOG
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let sweeping = swept.is_none_or(|when| when.elapsed() >= SWEEP_EVERY);
        let committed = commit(database, &group, sweeping.then_some(&sweep));
        if sweeping && committed.is_ok() {
            swept = Some(Instant::now());
        }
        answer(group, committed);
    }
}

fn commit(database: &Database, group: &[Change], sweep: Option<&Apply>) -> Result<Vec<bool>, redb::Error> {
    let transaction = database.begin_write()?;
    let outcomes = group.iter().map(|change| (change.apply)(&transaction)).collect::<Result<_, _>>()?;
    if let Some(sweep) = sweep {
        sweep(&transaction)?;
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn answer(group: Vec<Change>, committed: Result<Vec<bool>, redb::Error>) {
    match committed {
        Ok(outcomes) => {
            for (change, outcome) in group.into_iter().zip(outcomes) {
                change.done.send(Ok(outcome)).ok();
            }
        }
        // All or nothing: one failure fails the commit that they share.
        Err(error) => {
            tracing::error!(%error, "the database could not be written");
            for change in group {
                change.done.send(Err(StoreError::Closed)).ok();
            }
        }
    }
}
