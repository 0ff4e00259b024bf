//! What nodes need of Redis beyond a store: leases, presence, and a way to speak to each other. Decides nothing.

use std::{sync::Arc, time::Duration};

use redis::{Script, aio::PubSubStream};
use uuid::Uuid;

use super::{Appended, Entry, Line, Scripts, Writer, Written, entry_id, eviction::Eviction, names, queued};
use crate::model::{EntryId, Queued, StoreError};

/// How long a node that is not heard of counts as alive: with what comes on top, less than the 15 s of false presence that are
/// allowed.
const LEASE: Duration = Duration::from_secs(10);

/// How long Redis remembers which data it had, after the last node was there.
const EPOCH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// Renews the lease, or begins it. Being a write, it fails where Redis takes none. The epoch is drawn by whoever comes first, so
/// that all see when Redis has lost what it had.
const RENEW: &str = r"
local lease, epoch = KEYS[1], KEYS[2]
local lasts, drawn, kept, begins, channel, beat, all, beat_of_all = unpack(ARGV)
if begins == '0' and redis.call('EXISTS', lease) == 0 then return false end
redis.call('SET', lease, '1', 'PX', lasts)
redis.call('SET', epoch, drawn, 'NX')
redis.call('PEXPIRE', epoch, kept)
local heard = redis.call('PUBLISH', channel, beat)
if all ~= '' then redis.call('PUBLISH', all, beat_of_all) end
return {redis.call('GET', epoch), heard}
";

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

/// The way of one node to the others.
pub(crate) struct Link {
    line: Line,
    writer: Writer,
    scripts: Arc<Scripts>,
    eviction: Eviction,
    renew: Script,
    /// The channels of all databases are one set, so they carry the number of theirs.
    channels: String,
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
    pub(super) fn new(line: Line, writer: Writer, scripts: Arc<Scripts>, eviction: Eviction, db: i64) -> Self {
        Self { line, writer, scripts, eviction, renew: Script::new(RENEW), channels: format!("notify:{db}:") }
    }

    /// Whether what is there will do. What is not there, or is a replica yet, may do later.
    ///
    /// # Errors
    /// Where it will not.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self.line.connector().connect().await {
            Err(error @ (StoreError::Unsupported(_) | StoreError::TooOld(_) | StoreError::NotSentinel)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Listens to what is said to a node, and to all.
    pub(crate) async fn listen(&self, node: Uuid) -> Result<PubSubStream, StoreError> {
        // At the very server that is written to.
        let at = self.line.address().await?;
        let channels = [self.channel(node), self.channel_of_all()];
        let subscription = self.line.connector().subscribe(&at, &channels).await?;
        Ok(subscription.into_on_message())
    }

    /// Begins a lease. Redis knows what it will be asked to do before anybody counts on this node.
    pub(crate) async fn begin(&self, node: Uuid) -> Result<Lease, StoreError> {
        self.scripts.load(&self.line).await?;
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

    /// Connects anew with the next command.
    pub(crate) fn connect_anew(&self) {
        self.line.give_up();
    }

    async fn lease(&self, node: Uuid, begins: bool, to_all: bool) -> Result<Option<Lease>, StoreError> {
        let mut call = self.renew.key(lease_key(node));
        call.key("notify:epoch").arg(LEASE.as_millis().to_string()).arg(Uuid::new_v4().to_string());
        call.arg(EPOCH_MS).arg(u8::from(begins)).arg(self.channel(node)).arg(BEAT);
        call.arg(if to_all { self.channel_of_all() } else { String::new() }).arg(BEAT_OF_ALL);
        let renewed: Option<(String, u64)> = self.line.ask(&call).await?;
        Ok(renewed.map(|(epoch, heard)| Lease { epoch, is_heard: heard > 0 }))
    }

    /// Ends a lease: every presence of the node is void from now on.
    pub(crate) async fn end(&self, node: Uuid) -> Result<(), StoreError> {
        let mut del = redis::cmd("DEL");
        self.line.ask(del.arg(lease_key(node))).await
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
        let channel = if tell.is_some() { self.channel_of_one() } else { String::new() };
        call.arg(channel).arg(tell.unwrap_or_default());
        let entered: Option<(usize, usize, bool, String)> = self.line.ask(&call).await?;
        let Some((elsewhere, heard, acknowledged_elsewhere, newest)) = entered else { return Ok(None) };
        let newest = entry_id(&newest).ok_or(StoreError::Senseless)?;
        Ok(Some(Entered { elsewhere, heard, acknowledged_elsewhere, newest }))
    }

    /// Notes a user as gone from a node.
    pub(crate) async fn leave(&self, node: Uuid, user_id: &str) -> Result<(), StoreError> {
        let call = self.scripts.leave(user_id, &node.to_string());
        self.line.ask(&call).await
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
        let mut call = self.scripts.route(user_id, &self.channel_of_one(), &node.to_string(), body);
        let routed: Option<Appended> = match self.writer.ask::<Option<Appended>>(call.arg(payloads)).await? {
            Written::Copied(routed) => routed,
            Written::Here(None) => None,
            Written::Here(Some((ids, heard, acknowledged))) => {
                // What somebody was handed stays until it was taken; of the rest nothing shall be left.
                if heard == 0 && !acknowledged {
                    self.line.ask::<()>(self.scripts.claim(user_id, Duration::ZERO).arg(ids)).await?;
                }
                return Err(StoreError::NotCopied);
            }
        };
        Ok(routed.map(|(_, heard, acknowledged)| Routed { heard, acknowledged }))
    }

    /// Cuts a queue to its cap, where nobody acknowledges.
    pub(crate) async fn trim(&self, user_id: &str) -> Result<(), StoreError> {
        let call = self.scripts.append(user_id);
        let _: Appended = self.line.ask(&call).await?;
        Ok(())
    }

    /// Removes entries that were taken, unless somebody acknowledges; for a while they can still be [`Link::missed`].
    pub(crate) async fn claim(&self, user_id: &str, entries: &[EntryId], lately: Duration) -> Result<(), StoreError> {
        let mut call = self.scripts.claim(user_id, lately);
        self.line.ask(call.arg(names(entries))).await
    }

    /// What is queued for a user, and what was taken lately, in the order of arrival.
    pub(crate) async fn missed(&self, user_id: &str) -> Result<Vec<Queued>, StoreError> {
        let call = self.scripts.missed(user_id);
        let entries: Vec<Entry> = self.line.ask(&call).await?;
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
        self.publish(&self.channel_of_all(), text).await
    }

    async fn publish(&self, channel: &str, text: &str) -> Result<(), StoreError> {
        let mut publish = redis::cmd("PUBLISH");
        self.line.ask(publish.arg(channel).arg(text)).await
    }

    fn channel(&self, node: Uuid) -> String {
        format!("{}{node}", self.channel_of_one())
    }

    fn channel_of_one(&self) -> String {
        format!("{}to:", self.channels)
    }

    fn channel_of_all(&self) -> String {
        format!("{}all", self.channels)
    }
}

fn lease_key(node: Uuid) -> String {
    format!("notify:node:{node}")
}
