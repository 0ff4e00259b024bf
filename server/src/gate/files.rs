//! The system's limit of open files: raised as far as it goes, and what it leaves for connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::SPARE;

/// What is needed for everything else: the store's connections, the listener, files of the embedded store, the log.
const RESERVE: usize = 32;

/// So many of these are for the store. A Redis Cluster has as many servers as it likes.
const OF_THE_STORE: usize = 16;

/// How many the store has.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// A file of the store's, until it is dropped.
pub(crate) struct StoreFile(());

impl StoreFile {
    pub(crate) fn new() -> Self {
        HELD.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many the store has beyond those that are reserved for it.
pub(super) fn beyond() -> usize {
    HELD.load(Ordering::Relaxed).saturating_sub(OF_THE_STORE)
}

/// The least that is tried.
const LEAST: usize = 16;

/// Raises the soft limit to the hard one; how many connections there are files for.
pub(crate) fn connections() -> usize {
    limit().map_or(usize::MAX - SPARE, |files| files.saturating_sub(RESERVE + SPARE).max(LEAST))
}

/// The limit that was reached; `None` where there is none.
#[cfg(unix)]
fn limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Err(error) = &raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let limit = if raised.is_ok() { maximum } else { current };
    limit.and_then(|files| usize::try_from(files).ok())
}

#[cfg(not(unix))]
fn limit() -> Option<usize> {
    None
}
