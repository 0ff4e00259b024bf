//! What a node asks of the other nodes that share its store, and what they ask of it. [`Cluster`] does it over Redis.
//!
//! A *node* is one server process. It is known by an id for as long as its lease and its subscription hold without a gap;
//! after one it joins anew, under a new id, and catches up. So what is said to an id was heard, or the id is gone.
//! On a Redis Cluster that is so for each partition by itself: a process is as many nodes as there are partitions.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use crate::{
    model::{EntryId, Queued, StoreError},
    mutex::Mutex,
};

mod ear;
mod inbox;
mod lanes;
mod member;
mod message;
mod node;
mod removals;
mod replies;
mod users;
mod word;

pub use node::Cluster;

/// The other nodes, as the service sees them.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Asks, before anything begins, whether the store is one that nodes can share. One that does not answer is none yet.
    ///
    /// # Errors
    /// Where it is of a kind that they cannot.
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Begins: from now on this node is one of them, and what they say is told to `local`.
    fn join(&self, local: Arc<dyn Local>);

    /// Whether this node is one of them, for `/readyz`.
    ///
    /// # Errors
    /// Where it has not joined, has not caught up, or has lost touch.
    fn ready(&self) -> Result<(), StoreError>;

    /// Tells that a client of a user is about to be let in, before the user's queue is read. When this returns, whatever
    /// another node does for the user from then on takes this node into account.
    ///
    /// # Errors
    /// Where the store cannot be asked. The client has to be refused then.
    async fn enter(&self, user_id: &str, acknowledges: bool) -> Result<Presence, StoreError>;

    /// Where an event for a user has to go. Asks nobody.
    fn destination(&self, user_id: &str) -> Destination;

    /// Stores events, and hands them to every node where the user is, this one included, in one atomic step: all nodes see
    /// the events of a user in one order. What it returns is to be awaited when the user's lock was let go.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn route(&self, user_id: &str, payloads: &[&str]) -> Result<Taken, StoreError>;

    /// What this node may have missed of a user: what is queued, and what clients elsewhere have taken lately, in its order.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn missed(&self, user_id: &str) -> Result<Vec<Queued>, StoreError>;

    /// Tells that a transport has taken an event that was stored: no connect is given it any more, unless somebody acknowledges.
    fn remove(&self, user_id: &str, entry: EntryId);

    /// Completes when whatever was removed for a user has left the queue, or the store could not.
    async fn flush(&self, user_id: &str);

    /// Tells every node that a session has ended, for everybody or for everybody but its owner.
    ///
    /// # Errors
    /// Where they cannot be told.
    async fn end_session(&self, session_id: &str, but_for: Option<&str>) -> Result<(), StoreError>;

    /// Counts how often the store was found to have lost what it had of a session.
    fn epoch(&self, session_id: &str) -> u64;

    /// Whether the store, which has answered something of a session since, has lost nothing since that epoch.
    ///
    /// # Errors
    /// Where it cannot be asked.
    async fn is_still(&self, session_id: &str, epoch: u64) -> Result<bool, StoreError>;

    /// Takes leave, so that nobody waits for the lease to end. Nothing works afterwards.
    async fn leave(&self);
}

/// Which sessions, by their ids.
pub type Sessions<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// What the other nodes ask of this one.
#[async_trait]
pub trait Local: Send + Sync + 'static {
    /// Hands events to the clients that a user has here, under the user's lock; for each event, whether a client has it.
    async fn receive(&self, user_id: &str, events: Vec<Arrived>) -> Vec<bool>;

    /// Completes when whatever was begun for the user here has been done, and what was not sent is in the queue.
    async fn settle(&self, user_id: &str);

    /// Hands over whatever was missed of a user, to each client here what it has not been given yet.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn catch_up(&self, user_id: &str) -> Result<(), StoreError>;

    /// Closes what rests on a session.
    fn end_session(&self, session_id: &str, but_for: Option<&str>);

    /// Closes whatever rests on one of these sessions that holds no longer.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn verify_sessions(&self, which: Sessions<'_>) -> Result<(), StoreError>;
}

/// An event that is stored and was handed to this node.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its name in the user's queue.
    pub entry: EntryId,
    /// The payload.
    pub payload: Box<RawValue>,
    /// Whether some client of the user acknowledges, here or elsewhere.
    pub acknowledged: bool,
}

/// For each event, whether some client has taken it.
pub type Taken = BoxFuture<'static, Vec<bool>>;

/// Where an event has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The user is here and nowhere else: clients that do not acknowledge can be handed it without anybody being asked.
    Here,
    /// It has to be routed.
    Elsewhere,
    /// It is to be routed; where that is impossible, it is as if the user were alone: the other nodes have no store either.
    Unsure,
}

/// The presence of one client of a user on this node. Ends when it is dropped.
pub struct Presence {
    /// The newest entry of the user's queue when it began: whatever is not newer is in the queue, or was not for this client.
    pub newest: EntryId,
    /// Whether clients on other nodes acknowledge.
    pub acknowledged_elsewhere: bool,
    end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Presence {
    /// A presence; `end` is called once, when it ends.
    pub fn new(newest: EntryId, acknowledged_elsewhere: bool, end: impl FnOnce() + Send + 'static) -> Self {
        Self { newest, acknowledged_elsewhere, end: Mutex::new(Some(Box::new(end))) }
    }

    /// Ends it now.
    pub fn end(&self) {
        // Taken out first: what it calls may come here again.
        let end = self.end.lock().take();
        if let Some(end) = end {
            end();
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.end();
    }
}
