//! What nodes need of Redis beyond a store: leases, presence, and a way to speak to each other. Decides nothing.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

pub(crate) use super::connect::Heard;
use super::{
    Appended, Entry, Scripts, Written, entry_id, eviction::Eviction, lines::Way, names, partitions::Partition, queued,
};
use crate::model::{EntryId, Queued, StoreError};

/// How long a node that is not heard of counts as alive: with what comes on top, less than the 15 s of false presence that are
/// allowed.
const LEASE: Duration = Duration::from_secs(10);

/// How long Redis remembers which data it had, after the last node was there.
const EPOCH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// How a sign of life begins: that of a node to itself, and that to all.
pub(crate) const BEAT: &str = "beat\n";
pub(crate) const BEAT_OF_ALL: &str = "beat all\n";

/// How a user is present on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No client acknowledges.
    Plain,
    /// Some client does.
    Ack,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ack => "ack",
        }
    }
}

/// The way of one node to the others, as far as users of one partition are concerned.
pub(crate) struct Link {
    way: Way,
    partition: Partition,
    scripts: Arc<Scripts>,
    eviction: Eviction,
}

/// A lease that holds.
pub(crate) struct Lease {
    /// Which data this is.
    pub(crate) epoch: String,
    /// Whether the node listens to the server that has said so.
    pub(crate) is_heard: bool,
}

/// What the store has said of a user who was noted as present.
pub(crate) struct Entered {
    /// On how many other nodes the user is.
    pub(crate) elsewhere: usize,
    /// How many of them were told.
    pub(crate) heard: usize,
    /// Whether somebody acknowledges there.
    pub(crate) acknowledged_elsewhere: bool,
    /// The newest entry of the queue, removed or not.
    pub(crate) newest: EntryId,
}

/// Events that were stored.
pub(crate) struct Routed {
    /// How many nodes were handed them.
    pub(crate) heard: usize,
    /// Whether somebody acknowledges.
    pub(crate) acknowledged: bool,
}

impl Link {
    pub(super) fn new(way: Way, partition: Partition, scripts: Arc<Scripts>, eviction: Eviction) -> Self {
        Self { way, partition, scripts, eviction }
    }

    /// Whether what is there will do. What is not there, or is a replica yet, may do later.
    ///
    /// # Errors
    /// Where it will not.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.way.check().await
    }

    /// Listens to what is said to a node, and to all.
    pub(crate) async fn listen(&self, node: Uuid) -> Result<Heard, StoreError> {
        self.way.listen(&[self.channel(node), self.partition.channel_of_all()]).await
    }

    /// Begins a lease. Redis knows what it will be asked to do before anybody counts on this node.
    pub(crate) async fn begin(&self, node: Uuid) -> Result<Lease, StoreError> {
        self.scripts.load(&self.way.pair().await?.line).await?;
        self.lease(node, true, true).await?.ok_or(StoreError::Senseless)
    }

    /// Renews a lease, and sends the node a sign of life, and one to all where that is wanted; `None` where the lease has ended.
    pub(crate) async fn renew(&self, node: Uuid, to_all: bool) -> Result<Option<Lease>, StoreError> {
        match self.lease(node, false, to_all).await {
            // The primary may be somewhere else by now, and there is no time to lose.
            Err(StoreError::Redis(_)) => self.lease(node, false, to_all).await,
            answer => answer,
        }
    }

    /// What the store calls its epoch, if somebody has joined since it began.
    pub(crate) async fn epoch(&self) -> Result<Option<String>, StoreError> {
        self.way.ask(redis::cmd("GET").arg(self.partition.epoch())).await
    }

    /// Whether an error tells that the store is there, and that what is asked for is on its way to another server of a cluster.
    pub(crate) fn moves(&self, error: &StoreError) -> bool {
        self.way.moves(error)
    }

    /// Whether a subscription that has ended did so because what is listened to lies elsewhere now.
    pub(crate) fn has_moved(&self) -> bool {
        self.way.has_moved()
    }

    /// Connects anew with the next command.
    pub(crate) async fn connect_anew(&self) {
        self.way.give_up().await;
    }

    async fn lease(&self, node: Uuid, begins: bool, to_all: bool) -> Result<Option<Lease>, StoreError> {
        let mut call = self.scripts.lease();
        call.key(self.lease_key(node))
            .key(self.partition.epoch())
            .arg(LEASE.as_millis().to_string())
            .arg(Uuid::new_v4().to_string());
        call.arg(EPOCH_MS).arg(u8::from(begins)).arg(self.channel(node)).arg(BEAT);
        call.arg(if to_all { self.partition.channel_of_all() } else { String::new() }).arg(BEAT_OF_ALL);
        let renewed: Option<(String, u64)> = self.way.ask(&call).await?;
        Ok(renewed.map(|(epoch, heard)| Lease { epoch, is_heard: heard > 0 }))
    }

    /// Ends a lease: every presence of the node is void from now on.
    pub(crate) async fn end(&self, node: Uuid) -> Result<(), StoreError> {
        let mut del = redis::cmd("DEL");
        self.way.ask(del.arg(self.lease_key(node))).await
    }

    /// Notes a user as present, and tells the other nodes where the user is, if there is something to tell; `None` where the
    /// lease of the node has ended.
    pub(crate) async fn enter(
        &self,
        node: Uuid,
        user_id: &str,
        mode: Mode,
        tell: Option<&str>,
    ) -> Result<Option<Entered>, StoreError> {
        let mut call = self.scripts.enter(user_id, &node.to_string(), mode);
        let channel = if tell.is_some() { self.partition.channel_of_one() } else { String::new() };
        call.arg(channel).arg(tell.unwrap_or_default());
        let entered: Option<(usize, usize, bool, String)> = self.way.ask(&call).await?;
        let Some((elsewhere, heard, acknowledged_elsewhere, newest)) = entered else { return Ok(None) };
        let newest = entry_id(&newest).ok_or(StoreError::Senseless)?;
        Ok(Some(Entered { elsewhere, heard, acknowledged_elsewhere, newest }))
    }

    /// Notes a user as gone from a node.
    pub(crate) async fn leave(&self, node: Uuid, user_id: &str) -> Result<(), StoreError> {
        let call = self.scripts.leave(user_id, &node.to_string());
        self.way.ask(&call).await
    }

    /// Stores events, and hands them with `body` to every node where the user is; `None` where the lease of this node has ended.
    pub(crate) async fn route(
        &self,
        node: Uuid,
        user_id: &str,
        payloads: &[&str],
        body: &str,
    ) -> Result<Option<Routed>, StoreError> {
        self.eviction.check()?;
        let mut call = self.scripts.route(user_id, &self.partition.channel_of_one(), &node.to_string(), body);
        let routed: Option<Appended> = match self.way.write::<Option<Appended>>(call.arg(payloads)).await? {
            Written::Copied(routed) => routed,
            Written::Here(None) => None,
            Written::Here(Some((ids, heard, acknowledged))) => {
                // What somebody was handed stays until it was taken; of the rest nothing shall be left.
                if heard == 0 && !acknowledged {
                    self.way.ask::<()>(self.scripts.remove_delivered(user_id, Duration::ZERO).arg(ids)).await?;
                }
                return Err(StoreError::NotCopied);
            }
        };
        Ok(routed.map(|(_, heard, acknowledged)| Routed { heard, acknowledged }))
    }

    /// Cuts a queue to its cap, where nobody acknowledges.
    pub(crate) async fn trim(&self, user_id: &str) -> Result<(), StoreError> {
        let call = self.scripts.append(user_id);
        let _: Appended = self.way.ask(&call).await?;
        Ok(())
    }

    /// Removes entries that were taken, unless somebody acknowledges; for a while they can still be [`Link::missed`].
    pub(crate) async fn remove_delivered(
        &self,
        user_id: &str,
        entries: &[EntryId],
        lately: Duration,
    ) -> Result<(), StoreError> {
        let mut call = self.scripts.remove_delivered(user_id, lately);
        self.way.ask(call.arg(names(entries))).await
    }

    /// What is queued for a user, and what was taken lately, in the order of arrival.
    pub(crate) async fn missed(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        let call = self.scripts.missed(user_id);
        let entries: Vec<Entry> = self.way.ask(&call).await?;
        let mut missed: Vec<_> = entries.into_iter().filter_map(queued).collect();
        missed.sort_by_key(|entry| entry.id);
        Ok(missed)
    }

    /// Says something to one node.
    pub(crate) async fn tell(&self, node: Uuid, text: &str) -> Result<(), StoreError> {
        self.publish(&self.channel(node), text).await
    }

    /// Says something to all nodes.
    pub(crate) async fn tell_all(&self, text: &str) -> Result<(), StoreError> {
        self.publish(&self.partition.channel_of_all(), text).await
    }

    async fn publish(&self, channel: &str, text: &str) -> Result<(), StoreError> {
        let mut publish = redis::cmd(self.partition.publish());
        self.way.ask(publish.arg(channel).arg(text)).await
    }

    fn channel(&self, node: Uuid) -> String {
        format!("{}{node}", self.partition.channel_of_one())
    }

    fn lease_key(&self, node: Uuid) -> String {
        format!("{}{node}", self.partition.leases())
    }
}
