//! What a node says of itself in the log. What concerns many partitions at a time is said once for all. Knows nothing of why.

use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use crate::mutex::Mutex;

/// How long is waited for what the others have to say: a primary that goes is not noticed by all in the same moment.
const TOGETHER: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// By which id.
    Joined,
    /// By what gap.
    OutOfTouch,
    CannotJoin,
    NotRenewed,
    NotVerified,
    DataLost,
}

/// What the nodes of all partitions have to say.
pub(super) struct Words {
    partitions: usize,
    /// Of how many partitions, and what the first has said; until it is logged.
    pending: Mutex<BTreeMap<Word, (usize, String)>>,
}

impl Words {
    pub(super) fn new(partitions: usize) -> Arc<Self> {
        Arc::new(Self { partitions, pending: Mutex::default() })
    }

    /// Logs it: at once where there is nobody else who might say the same.
    pub(super) fn say(self: &Arc<Self>, word: Word, about: &(dyn Display + Sync)) {
        if self.partitions == 1 {
            return log(word, about, None);
        }
        let mut pending = self.pending.lock();
        let is_first = pending.is_empty();
        pending.entry(word).or_insert_with(|| (0, about.to_string())).0 += 1;
        if is_first {
            let words = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(TOGETHER).await;
                let said = std::mem::take(&mut *words.pending.lock());
                for (word, (partitions, about)) in said {
                    log(word, &about, Some(partitions));
                }
            });
        }
    }
}

/// Of several partitions, what is told is about the first of them.
fn log(word: Word, about: &dyn Display, partitions: Option<usize>) {
    match word {
        Word::Joined => tracing::info!(partitions, node = %about, "joined"),
        Word::OutOfTouch => tracing::warn!(partitions, gap = %about, "out of touch with the others"),
        Word::CannotJoin => tracing::warn!(partitions, error = %about, "this node cannot join the others"),
        Word::NotRenewed => tracing::warn!(partitions, error = %about, "the lease could not be renewed"),
        Word::NotVerified => tracing::warn!(partitions, error = %about, "sessions could not be verified again yet"),
        Word::DataLost => {
            tracing::warn!(partitions, "redis has lost its data; connections stay, though their sessions are gone");
        }
    }
}
