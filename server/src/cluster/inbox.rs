//! What the other nodes say to this one, and what is done about it: for each user in its order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Arrived,
    ear::Ear,
    lanes::Lanes,
    message::{self, Message},
    node::Node,
};
use crate::model::Channel;

/// What has come in and is not done yet.
#[derive(Default)]
pub(super) struct Inbox {
    lanes: Lanes<Delivery>,
    /// Counts what comes in.
    last: AtomicU64,
    /// Tells when a lane is done.
    done: Notify,
    /// Signs of life: this node's own, and those to all.
    pub(super) own: Ear,
    pub(super) all: Ear,
}

/// Events for a user.
struct Delivery {
    number: u64,
    from: Uuid,
    n: u64,
    /// Whether the user is on this node and no other.
    alone: bool,
    events: Vec<Arrived>,
}

impl Node {
    /// Takes in what was said. Does not wait for anything, so that nobody waits for anybody else's clients.
    pub(super) fn take_in(self: &Arc<Self>, text: &str) {
        let number = self.inbox.last.fetch_add(1, Ordering::SeqCst) + 1;
        match message::parse(text) {
            Some(Message::Events { from, n, user, nodes, events }) => {
                let delivery = Delivery { number, from, n, alone: nodes == 1, events };
                if self.inbox.lanes.push(&user, delivery) {
                    tokio::spawn(self.clone().work(user));
                }
            }
            Some(Message::Shared { waits, user }) => {
                // At once: whatever is emitted from now on is routed.
                self.users.mark_shared(&user, number);
                if let Some((from, n)) = waits {
                    tokio::spawn(self.clone().confirm_shared(from, n, user));
                }
            }
            Some(Message::Took { n, taken }) => self.replies.answer(n, taken),
            Some(Message::Ended { session, but_for }) => {
                if let Some(local) = self.local() {
                    local.end_session(&session, but_for.as_deref());
                }
            }
            Some(Message::Beat(Channel::One)) => self.inbox.own.hear(),
            Some(Message::Beat(Channel::All)) => self.inbox.all.hear(),
            None => tracing::warn!("another node has said what this one does not understand"),
        }
    }

    async fn work(self: Arc<Self>, user_id: String) {
        while let Some(delivery) = self.inbox.lanes.next(&user_id) {
            let Delivery { number, from, n, alone, events } = delivery;
            if !alone {
                // Another node may be out of touch, and has to find them in the store.
                self.removals.share(Some(&user_id));
            }
            let taken = self.hand_over(&user_id, events).await;
            if alone {
                self.users.mark_alone(&user_id, number);
            }
            if from == self.joined().id {
                self.replies.answer(n, taken);
                continue;
            }
            let node = self.clone();
            tokio::spawn(async move {
                if let Err(error) = node.link.tell(from, &message::took(n, taken)).await {
                    tracing::debug!(%error, "another node could not be told that its events were handed over");
                }
            });
        }
        self.inbox.done.notify_waiters();
    }

    /// Completes when everything that has come in is done.
    pub(super) async fn is_done(&self) {
        loop {
            // Before the look, so that what is done in between is noticed.
            let done = self.inbox.done.notified();
            if self.inbox.lanes.is_idle() {
                return;
            }
            done.await;
        }
    }

    async fn hand_over(&self, user_id: &str, events: Vec<Arrived>) -> Vec<bool> {
        let Some(local) = self.local() else { return Vec::new() };
        let joined = self.joined().number;
        if self.users.is_behind(user_id, joined) {
            // What was missed is older than this.
            if let Err(error) = local.catch_up(user_id).await {
                tracing::warn!(%error, "a user has to wait for what was missed");
                return Vec::new();
            }
            self.users.caught_up(user_id, joined);
        }
        local.receive(user_id, events).await
    }

    /// Tells the node where a user is about to be that what was begun here is done, and in the store what is left of it.
    async fn confirm_shared(self: Arc<Self>, from: Uuid, n: u64, user_id: String) {
        if let Some(local) = self.local() {
            local.settle(&user_id).await;
        }
        // Where the last client here has just gone, the store learns it before the node that asks goes on.
        let told = self.tell_of(&user_id, false).await;
        let confirmed = self.link.tell(from, &message::took(n, Vec::new())).await;
        if let Err(error) = told.and(confirmed) {
            tracing::debug!(%error, "another node could not be told that a user is shared");
        }
    }
}
