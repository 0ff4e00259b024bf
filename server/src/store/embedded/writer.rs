//! The one thread that writes. Knows nothing of what it writes.
//!
//! It commits whatever has gathered while the last commit was being written, so that many emitters share one `fsync`; each
//! is answered when its own change is on disk (QUEUE-17).

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use redb::{Database, WriteTransaction};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{counts::COUNTS, model::StoreError};

/// How many changes may wait, and how many share a commit.
const BACKLOG: usize = 1_024;

/// How long after a sweep that could not be written the next one is due.
const RETRY: Duration = Duration::from_secs(10);

/// Throws away what nobody will ask for again; when there may be more of it.
pub(super) type Sweep = Box<dyn Fn(&WriteTransaction) -> Result<Duration, redb::Error> + Send>;

/// A change to the database. What it returns tells whoever has asked for it, once it is on disk.
type Change = Box<dyn FnOnce(&WriteTransaction) -> Result<Tell, redb::Error> + Send>;
type Tell = Box<dyn FnOnce() + Send>;

/// The way to the thread. The thread ends, and with it the last promise is kept, when this is dropped.
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `sweep` is applied at first and whenever it is due, along with other changes where there are any.
    pub(super) fn start(database: Arc<Database>, sweep: Sweep) -> Self {
        let (changes, waiting) = mpsc::channel(BACKLOG);
        let thread = std::thread::spawn(move || write(&database, waiting, sweep));
        Self { changes: Some(changes), thread: Some(thread) }
    }

    /// Makes a change, and returns what it has to say when it is on disk.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, outcome) = oneshot::channel();
        let change: Change = Box::new(move |transaction| {
            let said = change(transaction)?;
            Ok(Box::new(move || drop(done.send(said))))
        });
        let changed = async {
            let changes = self.changes.as_ref().ok_or(StoreError::Closed)?;
            changes.send(change).await.map_err(|_| StoreError::Closed)?;
            // Where it could not be written, whatever would tell is gone.
            outcome.await.map_err(|_| StoreError::Closed)
        };
        COUNTS.store_call(changed).await
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
fn write(database: &Database, mut waiting: mpsc::Receiver<Change>, sweep: Sweep) {
    let clock = Builder::new_current_thread().enable_time().build().expect("a timer needs nothing of the system");
    let mut due = Instant::now();
    loop {
        let first = match clock.block_on(async { timeout_at(due, waiting.recv()).await }) {
            Ok(None) => return,
            Ok(first) => first,
            Err(_) => None,
        };
        let mut group: Vec<_> = first.into_iter().collect();
        while group.len() < BACKLOG
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let now = Instant::now();
        let sweep = (now >= due).then_some(&sweep);
        if sweep.is_some() {
            due = now + RETRY;
        }
        match commit(database, group, sweep) {
            Ok((tells, next)) => {
                due = next.map_or(due, |next| now + next);
                tells.into_iter().for_each(|tell| tell());
            }
            Err(error) => tracing::error!(%error, "the database could not be written"),
        }
    }
}

/// What to tell once it is on disk, and when the next sweep is due where there was one.
type Committed = (Vec<Tell>, Option<Duration>);

/// All or nothing: one failure fails the commit that they share.
fn commit(database: &Database, group: Vec<Change>, sweep: Option<&Sweep>) -> Result<Committed, redb::Error> {
    let transaction = database.begin_write()?;
    let tells = group.into_iter().map(|change| change(&transaction)).collect::<Result<_, _>>()?;
    let next = sweep.map(|sweep| sweep(&transaction)).transpose()?;
    transaction.commit()?;
    Ok((tells, next))
}
