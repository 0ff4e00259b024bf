//! What Redis does in one atomic step each: for a user's queue and presence, for the lease of a node, and for an idempotency key.
//! Knows nothing of connections.
//!
//! A user has four keys, all in one slot, as the leases are that a script looks at: `queue`, the stream with the events; `ledger`, which counts what was lost;
//! `present`, the nodes where the user is, each with whether somebody acknowledges there; and `taken`, a stream of what
//! was delivered lately, in which only a node that was out of touch looks. Some scripts take a fifth: `draining`, which
//! names who is being handed the queue, or `anew`, a queue that is being put in order.
//!
//! The ledger notes how many events are held. What is missing from the stream the next time was lost, however that came
//! about: by age, by the cap, with its key, or by an eviction. It outlives the stream, or there would be nobody to tell.

use std::time::Duration;

use redis::{Script, ScriptInvocation};
use uuid::Uuid;

use super::{
    clock::Clock,
    line::{Line, Load},
    partitions::Partitions,
    peers::Mode,
};
use crate::{
    model::{ANSWER_TTL, AT_A_TIME_BYTES, CLAIM_LASTS, KEPT_AT_MOST, StoreError},
    store::Limits,
};

/// How long the ledger of a user who acknowledges is kept after the last event or connect.
const REMEMBERED_MS: u128 = 30 * 24 * 60 * 60 * 1_000;

/// That of everybody else, who may yet begin to; not longer than a queue, whose TTL is a promise to forget.
const DAY_MS: u128 = 24 * 60 * 60 * 1_000;

/// How long a presence is kept that nobody renews or takes back, as of the users of a node that has died.
const PRESENCE_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long a queue is believed to be on its way when nobody says so again.
const DRAINED_WITHIN: Duration = Duration::from_secs(4);

/// How late Redis may come to an event that is to be stored: a little less than the answer is waited for, so that what
/// was refused for want of one is not stored later.
const WANTED_FOR: Duration = Duration::from_millis(1_200);

/// What the scripts about a user have in common, and those that may come too late.
const COMMON: &str = include_str!("lua/common.lua");
const LATENESS: &str = include_str!("lua/lateness.lua");

/// The scripts, which stand in `lua/`: one purpose and one file each.
pub(super) struct Scripts {
    look: Script,
    append: Script,
    reinsert: Script,
    read: Script,
    drain: Script,
    renew_drain: Script,
    release: Script,
    remove: Script,
    remove_delivered: Script,
    missed: Script,
    backlog: Script,
    confirm: Script,
    enter: Script,
    leave: Script,
    lease: Script,
    once: Script,
    sweep: Script,
    partitions: Partitions,
    limits: Limits,
    clock: Clock,
}

impl Scripts {
    pub(super) fn new(partitions: Partitions, limits: Limits, clock: Clock) -> Self {
        let publish = partitions.publish();
        let settings = format!("local AT_A_TIME, PUBLISH = {AT_A_TIME_BYTES}, '{publish}'\n");
        let alone = |parts: &[&str]| Script::new(&without_comments(&parts.concat()));
        let script = |code| alone(&[&settings, LATENESS, COMMON, code]);
        Self {
            look: alone(&[include_str!("lua/look.lua")]),
            append: script(include_str!("lua/append.lua")),
            reinsert: script(include_str!("lua/reinsert.lua")),
            read: script(include_str!("lua/read.lua")),
            drain: script(include_str!("lua/drain.lua")),
            renew_drain: script(include_str!("lua/renew_drain.lua")),
            release: script(include_str!("lua/release.lua")),
            remove: script(include_str!("lua/remove.lua")),
            remove_delivered: script(include_str!("lua/remove_delivered.lua")),
            missed: script(include_str!("lua/missed.lua")),
            backlog: script(include_str!("lua/backlog.lua")),
            confirm: script(include_str!("lua/confirm.lua")),
            enter: script(include_str!("lua/enter.lua")),
            leave: script(include_str!("lua/leave.lua")),
            lease: alone(&[&settings, include_str!("lua/lease.lua")]),
            once: alone(&[LATENESS, include_str!("lua/once.lua")]),
            sweep: script(include_str!("lua/sweep.lua")),
            partitions,
            limits,
            clock,
        }
    }

    /// Makes those known to Redis that it does not know, one after the other: else whoever comes first would wait for their text to
    /// arrive.
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub(super) async fn load(&self, line: &Line) -> Result<(), StoreError> {
        let all = [
            &self.look,
            &self.append,
            &self.reinsert,
            &self.read,
            &self.drain,
            &self.renew_drain,
            &self.release,
            &self.remove,
            &self.remove_delivered,
            &self.missed,
            &self.backlog,
            &self.confirm,
            &self.enter,
            &self.leave,
            &self.lease,
            &self.once,
            &self.sweep,
        ];
        let mut exists = redis::cmd("SCRIPT");
        exists.arg("EXISTS").arg(all.map(Script::get_hash).as_slice());
        let known: Vec<bool> = line.ask(&exists).await?;
        for (script, _) in all.into_iter().zip(known).filter(|(_, known)| !known) {
            line.ask(&Load(script)).await?;
        }
        Ok(())
    }

    pub(super) fn look(&self) -> ScriptInvocation<'_> {
        self.look.prepare_invoke()
    }

    pub(super) fn append(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.route(user_id, "", "", "")
    }

    pub(super) fn keep(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.appending(user_id, self.bound(), "", "", "")
    }

    /// The same as [`Scripts::append`] for events that this node hands to every node where the user is, at the channel that begins
    /// so. Nothing where the node is taken for dead: the user may be on it.
    pub(super) fn route(&self, user_id: &str, channel: &str, node: &str, body: &str) -> ScriptInvocation<'_> {
        self.appending(user_id, self.limits.max_events, channel, node, body)
    }

    fn appending(&self, user_id: &str, cap: usize, channel: &str, node: &str, body: &str) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.append, user_id, cap);
        call.key(self.partitions.of(user_id).ages());
        call.arg(self.bound()).arg(channel).arg(node).arg(body).arg(self.deadline()).arg(user_id);
        call
    }

    /// Takes the entry that each event came after, and its payload.
    pub(super) fn reinsert(&self, user_id: &str) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.reinsert, user_id, self.bound());
        let partition = self.partitions.of(user_id);
        call.key(partition.key(user_id, "anew")).key(partition.ages()).arg(self.deadline()).arg(user_id);
        call
    }

    /// What is removed can still be missed for this time; not at all where it is zero.
    pub(super) fn remove_delivered(&self, user_id: &str, lately: Duration) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.remove_delivered, user_id, 0);
        call.arg(lately.min(self.limits.ttl).as_millis().to_string()).arg(KEPT_AT_MOST);
        call
    }

    pub(super) fn missed(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.call(&self.missed, user_id, 0)
    }

    pub(super) fn enter(&self, user_id: &str, node: &str, mode: Mode) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.enter, user_id, 0);
        call.arg(node).arg(mode.name()).arg(PRESENCE_MS);
        call
    }

    pub(super) fn leave(&self, user_id: &str, node: &str) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.leave, user_id, 0);
        call.arg(node);
        call
    }

    pub(super) fn lease(&self) -> ScriptInvocation<'_> {
        self.lease.prepare_invoke()
    }

    pub(super) fn claim_key(&self, key: &str, by: Uuid, body: &str) -> ScriptInvocation<'_> {
        let mut call = self.once("claim", key, by, body, CLAIM_LASTS);
        call.arg(self.deadline());
        call
    }

    pub(super) fn renew_key(&self, key: &str, by: Uuid) -> ScriptInvocation<'_> {
        self.once("renew", key, by, "", CLAIM_LASTS)
    }

    /// What it became is an `answer`, a `part` or `nothing`.
    pub(super) fn settle_key(&self, key: &str, by: Uuid, body: &str, became: &str, said: &str) -> ScriptInvocation<'_> {
        let mut call = self.once(became, key, by, body, ANSWER_TTL);
        call.arg(said);
        call
    }

    fn once(&self, step: &str, key: &str, by: Uuid, body: &str, lasts: Duration) -> ScriptInvocation<'_> {
        let mut call = self.once.prepare_invoke();
        call.key(self.partitions.of(key).once(key)).arg(step).arg(by.to_string()).arg(body);
        call.arg(lasts.as_millis().to_string());
        call
    }

    pub(super) fn sweep(&self, user_id: &str) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.sweep, user_id, 0);
        call.key(self.partitions.of(user_id).ages()).arg(user_id);
        call
    }

    fn deadline(&self) -> u64 {
        self.clock.in_ms(WANTED_FOR)
    }

    fn bound(&self) -> usize {
        self.limits.max_events.max(KEPT_AT_MOST)
    }

    pub(super) fn read(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.call(&self.read, user_id, 0)
    }

    pub(super) fn drain(&self, user_id: &str, drain: Uuid) -> ScriptInvocation<'_> {
        let mut call = self.draining(&self.drain, user_id, drain);
        call.arg(DRAINED_WITHIN.as_millis().to_string());
        call
    }

    pub(super) fn renew_drain(&self, user_id: &str, drain: Uuid) -> ScriptInvocation<'_> {
        let mut call = self.draining(&self.renew_drain, user_id, drain);
        call.arg(DRAINED_WITHIN.as_millis().to_string());
        call
    }

    pub(super) fn release(&self, user_id: &str, drain: Uuid) -> ScriptInvocation<'_> {
        self.draining(&self.release, user_id, drain)
    }

    pub(super) fn remove(&self, user_id: &str, drain: Uuid) -> ScriptInvocation<'_> {
        self.draining(&self.remove, user_id, drain)
    }

    fn draining<'a>(&self, script: &'a Script, user_id: &str, drain: Uuid) -> ScriptInvocation<'a> {
        let mut call = self.call(script, user_id, 0);
        call.key(self.partitions.of(user_id).key(user_id, "draining")).arg(drain.to_string());
        call
    }

    pub(super) fn backlog(&self, user_id: &str, after: &str, trim: bool) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.backlog, user_id, if trim { self.limits.max_events } else { 0 });
        call.arg(after);
        call
    }

    pub(super) fn confirm(&self, user_id: &str, told: u64) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.confirm, user_id, 0);
        call.arg(told);
        call
    }

    fn call<'a>(&self, script: &'a Script, user_id: &str, cap: usize) -> ScriptInvocation<'a> {
        let (ttl, partition) = (self.limits.ttl.as_millis(), self.partitions.of(user_id));
        let mut call = script.key(partition.key(user_id, "queue"));
        call.key(partition.key(user_id, "ledger"))
            .key(partition.key(user_id, "present"))
            .key(partition.key(user_id, "taken"))
            .arg(cap)
            .arg(ttl.to_string())
            .arg(REMEMBERED_MS.max(ttl).to_string())
            .arg(DAY_MS.max(ttl).to_string())
            .arg(partition.leases());
        call
    }
}

/// Redis keeps the text of a script, and each is sent more than once.
fn without_comments(code: &str) -> String {
    code.lines().filter(|line| !line.is_empty() && !line.starts_with("--")).map(|line| format!("{line}\n")).collect()
}
