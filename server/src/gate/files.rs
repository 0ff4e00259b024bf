//! The system's limit of open files: raised as far as it goes, and what it leaves for connections.

use super::SPARE;

/// What is needed for everything else: the store's connections, the listener, files of the embedded store, the log.
const RESERVE: usize = 32;

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
