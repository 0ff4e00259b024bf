//! The memberships of one connection in the namespace, one after the other: the CONNECT that begins each, and who answers it. Knows
//! nothing of transports.
//!
//! The library passes over a CONNECT where it has not quite done with the one before, and nobody tells. So a further one is said to it
//! again; and since it may hear both in the end, whoever it calls asks here what is to be answered, rather than look at the packet.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::mutex::Mutex;

/// A CONNECT that is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    /// The membership that it has begun.
    pub(crate) membership: u32,
    pub(crate) payload: String,
}

#[derive(Debug, Default)]
pub(super) struct Memberships {
    /// Counts CONNECTs and the ends of what they have begun. Odd while the client is in the namespace or waits for the answer; the
    /// odd number names the membership. Not all of them need be the same user's.
    count: AtomicU32,
    /// The CONNECT that nobody answers yet.
    unheard: Mutex<Option<Connect>>,
    /// Who waits for the next.
    listener: AtomicWaker,
}

impl Memberships {
    /// The one that the last CONNECT has begun; where that has ended, the even number behind it.
    pub(super) fn last(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether the client is in the namespace, or waits to be let in.
    pub(super) fn is_within(&self) -> bool {
        !self.last().is_multiple_of(2)
    }

    /// Begins one; `None` where the one before has not ended.
    pub(super) fn begin(&self, payload: &str) -> Option<u32> {
        let mut unheard = self.unheard.lock();
        let before = self
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.is_multiple_of(2).then(|| count + 1))
            .ok()?;
        let membership = before + 1;
        *unheard = Some(Connect { membership, payload: payload.to_owned() });
        drop(unheard);
        self.listener.wake();
        Some(membership)
    }

    /// Ends this one; another may follow. Does nothing where it has ended.
    pub(super) fn end(&self, membership: u32) {
        let mut unheard = self.unheard.lock();
        let is_this = |count: u32| count == membership && !count.is_multiple_of(2);
        self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| is_this(count).then(|| count + 1)).ok();
        unheard.take_if(|connect| connect.membership == membership);
    }

    /// Whether nobody answers this one yet.
    pub(super) fn is_unheard(&self, membership: u32) -> bool {
        self.unheard.lock().as_ref().is_some_and(|connect| connect.membership == membership)
    }

    /// Takes the CONNECT that is to be answered, once there is one: no two get the same.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Connect> {
        self.listener.register(cx.waker());
        self.unheard.lock().take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Wakes whoever waits for the next, for there may be none.
    pub(super) fn wake(&self) {
        self.listener.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use futures_util::FutureExt;

    use super::*;

    async fn next(memberships: &Memberships) -> Connect {
        poll_fn(|cx| memberships.poll_next(cx)).await
    }

    fn connect(membership: u32, payload: &str) -> Connect {
        Connect { membership, payload: payload.to_owned() }
    }

    #[tokio::test]
    async fn each_connect_is_answered_by_one_and_the_next_by_whoever_waits() {
        let memberships = Arc::new(Memberships::default());
        assert_eq!(memberships.begin("a"), Some(1));
        assert_eq!(memberships.begin("b"), None, "the first has no answer yet");
        assert_eq!(next(&memberships).await, connect(1, "a"));
        memberships.end(1);
        // The library has heard the first one twice.
        let waits = tokio::spawn({
            let memberships = memberships.clone();
            async move { next(&memberships).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(memberships.begin("b"), Some(3));
        assert_eq!(waits.await.unwrap(), connect(3, "b"));
        assert!(memberships.is_within() && !memberships.is_unheard(3));
    }

    #[tokio::test]
    async fn what_has_ended_is_not_answered_and_ends_no_other() {
        let memberships = Memberships::default();
        memberships.begin("a");
        memberships.end(1);
        memberships.end(2);
        assert_eq!(memberships.last(), 2);
        assert!(next(&memberships).now_or_never().is_none());
        memberships.begin("b");
        memberships.end(1);
        assert!(memberships.is_within() && memberships.is_unheard(3));
    }
}
