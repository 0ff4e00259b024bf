//! Questions to other nodes, and their answers as they come in. Knows nothing of how either travels.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::mutex::Mutex;

type Answer = Vec<bool>;

/// The questions of this node that are open.
#[derive(Clone, Default)]
pub(super) struct PendingReplies(Arc<Inner>);

#[derive(Default)]
struct Inner {
    last: AtomicU64,
    open: Mutex<HashMap<u64, mpsc::UnboundedSender<Answer>>>,
}

/// A question. Nobody waits for its answers any more once it is dropped.
pub(super) struct Question {
    pub(super) n: u64,
    answers: mpsc::UnboundedReceiver<Answer>,
    replies: PendingReplies,
}

impl PendingReplies {
    /// To be called before the question is asked: its answers may come at once.
    pub(super) fn open(&self) -> Question {
        let n = self.0.last.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        self.0.open.lock().insert(n, sender);
        Question { n, answers, replies: self.clone() }
    }

    pub(super) fn answer(&self, n: u64, answer: Answer) {
        if let Some(sender) = self.0.open.lock().get(&n) {
            sender.send(answer).ok();
        }
    }
}

impl Question {
    /// The answers of so many nodes, or of those that answer in time: for each event, whether anybody has taken it.
    pub(super) async fn gather(mut self, nodes: usize, events: usize, within: Duration) -> Answer {
        let deadline = Instant::now() + within;
        let mut taken = vec![false; events];
        for _ in 0..nodes {
            let Ok(Some(answer)) = timeout_at(deadline, self.answers.recv()).await else {
                tracing::debug!("a node has not answered in time");
                break;
            };
            taken.iter_mut().zip(answer).for_each(|(taken, too)| *taken |= too);
        }
        taken
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.replies.0.open.lock().remove(&self.n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_gathered_and_nothing_is_left_behind() {
        let replies = PendingReplies::default();
        let (one, other) = (replies.open(), replies.open());
        replies.answer(one.n, vec![false, true]);
        replies.answer(other.n, vec![true, true]);
        replies.answer(one.n, vec![false, false]);
        assert_eq!(one.gather(2, 2, Duration::from_secs(60)).await, [false, true]);
        // One of two nodes stays silent.
        assert_eq!(other.gather(2, 3, Duration::ZERO).await, [true, true, false]);
        replies.answer(0, vec![true]);
        assert!(replies.0.open.lock().is_empty());
    }
}
