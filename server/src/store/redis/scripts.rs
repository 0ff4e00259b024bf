//! What Redis does in one atomic step each: for a user's queue and presence, and for an idempotency key. Knows nothing
//! of connections.
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

/// What comes too late, as out of the buffers of a Redis that stood still, was refused by then and is not done.
const LATENESS: &str = r"
local function is_late(deadline)
  local now = redis.call('TIME')
  return deadline > 0 and now[1] * 1000 + now[2] / 1000 > deadline
end
local LATE = redis.error_reply('LATE nobody waits for this any more')
";

/// A key of the wrong type was damaged from outside and is started anew (QUEUE-15).
const COMMON: &str = r"
local queue, ledger, present, taken = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local cap, ttl, long, short, leases = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local FIRST = 6

local function read(key, ...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  redis.call('DEL', key)
  return redis.call(...)
end

-- The nodes where the user is, whether somebody acknowledges on any but this one, and the nodes that have no lease: dead ones.
local function nodes(this)
  local known, live, acks, dead = read(present, 'HGETALL', present), {}, false, {}
  for i = 1, #known, 2 do
    if redis.call('EXISTS', leases .. known[i]) == 1 then
      live[#live + 1] = known[i]
      acks = acks or (known[i + 1] == 'ack' and known[i] ~= this)
    else
      dead[#dead + 1] = known[i]
    end
  end
  return live, acks, dead
end

local function oldest()
  local now = redis.call('TIME')
  return string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ttl)
end

-- By the microsecond and with room between, for what was accepted there and comes back; where the clock was set back, right
-- behind the last one.
local function add(place, ...)
  local now = redis.call('TIME')
  local id = string.format('%.0f-%.0f', now[1] * 1000 + math.floor(now[2] / 1000), now[2] % 1000 * 1e9 + place * 1e5)
  local added = redis.pcall('XADD', queue, id, ...)
  if type(added) == 'table' then return redis.call('XADD', queue, '*', ...) end
  return added
end

-- What is left, what was lost so far, and whether the user acknowledges.
local function account()
  local known = read(ledger, 'HMGET', ledger, 'held', 'dropped', 'acks')
  local left, held = read(queue, 'XLEN', queue), tonumber(known[1])
  local dropped = tonumber(known[2]) or 0
  if held and held > left then dropped = dropped + held - left end
  return left, dropped, known[3] == '1'
end

-- Removing has to go on where Redis has no memory left to note it: then the ledger does not know what is held.
local function note(held, dropped, acks)
  if held == 0 and dropped == 0 and not acks then return redis.call('DEL', ledger) end
  local noted = redis.pcall('HSET', ledger, 'held', held, 'dropped', dropped, 'acks', acks and '1' or '0')
  if type(noted) == 'table' and noted.err then return redis.call('HDEL', ledger, 'held') end
  redis.call('PEXPIRE', ledger, acks and long or short)
end

local function remove(first)
  for i = first, #ARGV, 1000 do
    redis.call('XDEL', queue, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
  return redis.call('XLEN', queue)
end

-- What is read at a time, from a name on.
local function from(first)
  local entries, bytes = {}, 0
  repeat
    local some = redis.call('XRANGE', queue, first, '+', 'COUNT', 50)
    for _, entry in ipairs(some) do
      entries[#entries + 1] = entry
      bytes = bytes + #(entry[2][2] or '')
      if bytes >= AT_A_TIME then return entries end
      first = '(' .. entry[1]
    end
  until #some < 50
  return entries
end

-- An empty stream of somebody who is nowhere is of use for as long only as something that was taken may be looked for.
local function discard()
  local lately = redis.call('PTTL', taken)
  if lately > 0 then redis.call('PEXPIRE', queue, lately) else redis.call('DEL', queue) end
end
";

/// Appends events; with a channel, publishes them to every node where the user is as well. The cap is for users who are
/// on no node that listens, and of whom nobody acknowledges. The first write is one that needs memory: with another
/// before it, Redis would let it pass though it is full. What is too old goes before the cap, so that it does not
/// count. The key expires with its last entry.
const APPEND: &str = r"
local bound, channel, this, body, PAYLOADS = tonumber(ARGV[FIRST]), ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3], FIRST + 5
if is_late(tonumber(ARGV[FIRST + 4])) then return LATE end
if channel ~= '' and redis.call('EXISTS', leases .. this) == 0 then return false end
local live, anybody, dead = nodes()
local left, dropped, acks = account()
local gone, ids, heard = 0, {}, 0
for i = PAYLOADS, #ARGV do ids[#ids + 1] = add(#ids, 'payload', ARGV[i]) end
if left > 0 then gone = redis.call('XTRIM', queue, 'MINID', oldest()) end
if channel ~= '' then
  local head = {'events', anybody and 1 or 0, #live, table.concat(ids, ',')}
  local text = table.concat(head, ' ') .. '\n' .. body
  for _, node in ipairs(live) do heard = heard + redis.call(PUBLISH, channel .. node, text) end
end
if anybody or heard > 0 then cap = bound end
if left + #ids - gone > cap then gone = gone + redis.call('XTRIM', queue, 'MAXLEN', cap) end
redis.call('PEXPIRE', queue, ttl)
note(left + #ids - gone, dropped + gone, acks)
for _, node in ipairs(dead) do redis.call('HDEL', present, node) end
return {ids, heard, anybody and 1 or 0}
";

/// Puts events back, each behind the entry that it came after and before those that are newer. A stream grows at its end only, so one
/// with entries that are newer is written anew, with their names: somebody may be about to acknowledge them. What went back
/// behind the same entry before comes first; the very same is there already, and the answer was lost.
const PUT_BACK: &str = r"
local EVENTS, anew = FIRST + 1, KEYS[5]
if is_late(tonumber(ARGV[FIRST])) then return LATE end

local function parts(id)
  local time, counter = string.match(id, '(%d+)-(%d+)')
  return tonumber(time), tonumber(counter)
end
local function is_newer(one, other)
  local time, counter = parts(one)
  local than_time, than_counter = parts(other)
  return time > than_time or (time == than_time and counter > than_counter)
end
local function place(entry)
  local fields = entry[2]
  return fields[3] == 'after' and fields[4] or entry[1]
end
-- So many names between two others, and as far apart as can be: more may come back. Where the second leaves no room in its
-- millisecond, behind whatever the clock names in the one before.
local function between(one, other, many)
  local since, past = parts(one)
  local time, high = parts(other)
  local low, names = 0, {}
  if high <= many then time, low, high = time - 1, 1e12, 2e12 end
  if since == time then low = math.max(low, past) end
  local step = math.floor((high - low) / (many + 1))
  for i = 1, many do names[i] = string.format('%.0f-%.0f', time, low + i * step) end
  return names
end

local left, dropped, acks = account()
local held, known, all, back, at, last = {}, {}, {}, {}, 0, '0-0'
if left > 0 then held = redis.call('XRANGE', queue, oldest(), '+') end
for _, entry in ipairs(held) do known[entry[2][2] or ''] = true end

-- Adds an entry of the stream to `all`; before it what comes back in front of it, under names between the last entry's
-- and its own.
local function follow(entry)
  local names = between(last, entry[1], #back)
  for i, event in ipairs(back) do
    if is_newer(names[i], last) and is_newer(entry[1], names[i]) then event[1], last = names[i], names[i] end
    all[#all + 1] = event
  end
  all[#all + 1], back, last = entry, {}, entry[1]
end

for i = EVENTS, #ARGV, 2 do
  if not known[ARGV[i + 1]] then
    while held[at + 1] and not is_newer(place(held[at + 1]), ARGV[i]) do
      at = at + 1
      follow(held[at])
    end
    back[#back + 1] = {false, {'payload', ARGV[i + 1], 'after', ARGV[i]}}
  end
end
if #back == 0 and #all == at then return end
local reorders = held[at + 1] and #back > 0 or #all > at
for i = at + 1, #held do follow(held[i]) end
for _, event in ipairs(back) do all[#all + 1] = event end

if reorders then
  for _, entry in ipairs(all) do
    if entry[1] then redis.call('XADD', anew, entry[1], unpack(entry[2])) end
  end
  local about = redis.call('XINFO', 'STREAM', queue)
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then redis.call('XSETID', anew, about[i + 1]) end
  end
  redis.call('RENAME', anew, queue)
end
-- Where there is no room after all, it goes to the end rather than nowhere.
local added = 0
for _, entry in ipairs(all) do
  if not entry[1] then
    add(added, unpack(entry[2]))
    added = added + 1
  end
end
redis.call('XTRIM', queue, 'MINID', oldest())
if #all > cap then redis.call('XTRIM', queue, 'MAXLEN', cap) end
redis.call('PEXPIRE', queue, ttl)
note(math.min(#all, cap), dropped + left - #held + math.max(0, #all - cap), acks)
";

/// Reads the queue, and changes nothing.
const READ: &str = r"
if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
return from(oldest())
";

/// Reads the queue for a plain client that is to be handed it, and notes that (`draining`). Nothing where it is on its
/// way to another already, whose node renews its note for as long. Where Redis has no memory left for the note, the
/// queue is handed over without.
const DRAIN: &str = r"
local drain, lasts, draining = ARGV[FIRST], ARGV[FIRST + 1], KEYS[5]
if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
local entries = from(oldest())
if #entries == 0 then return entries end
local noted = redis.pcall('SET', draining, drain, 'NX', 'PX', lasts)
if noted == false and redis.call('GET', draining) ~= drain then return false end
return entries
";

/// Renews the note that a queue is on its way.
const RENEW_DRAIN: &str = r"
if redis.call('GET', KEYS[5]) == ARGV[FIRST] then redis.call('PEXPIRE', KEYS[5], ARGV[FIRST + 1]) end
";

/// Takes the note back: others may drain.
const RELEASE: &str = r"
if redis.call('GET', KEYS[5]) == ARGV[FIRST] then redis.call('DEL', KEYS[5]) end
";

/// Removes a queue that was handed to a plain client, and ends the drain. What was lost before is not told any more.
/// Where somebody acknowledges, it was no delivery, and stays. While the user is present the stream stays, though it be
/// empty: it knows its last id, which devices compare.
const REMOVE: &str = r"
if redis.call('GET', KEYS[5]) == ARGV[FIRST] then redis.call('DEL', KEYS[5]) end
local live, anybody = nodes()
if anybody then return end
local _, _, acks = account()
local left = remove(FIRST + 1)
if left == 0 and #live == 0 then discard() end
note(left, 0, acks)
";

/// Removes stored events that a plain client was sent live, so that no connect is given them; unless somebody
/// acknowledges. A node that was out of touch finds them in `taken` for a while, unless Redis has no memory left for
/// that. Of several nodes with such clients, only the first finds something to do.
const CLAIM: &str = r"
local lately, bound, ENTRIES, entries = tonumber(ARGV[FIRST]), ARGV[FIRST + 1], FIRST + 2, {}
for i = ENTRIES, #ARGV do
  entries[#entries + 1] = redis.call('XRANGE', queue, ARGV[i], ARGV[i])[1]
end
if #entries == 0 then return end
local _, anybody = nodes()
if anybody then return end
if lately > 0 then
  for _, entry in ipairs(entries) do
    redis.pcall('XADD', taken, 'MAXLEN', bound, '*', 'entry', entry[1], unpack(entry[2]))
  end
  local now = redis.call('TIME')
  redis.call('XTRIM', taken, 'MINID', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - lately))
  redis.call('PEXPIRE', taken, lately)
end
local _, dropped, acks = account()
note(remove(ENTRIES), dropped, acks)
";

/// Reads whatever a node may have missed: what is queued, and what was taken lately. Without the stream nobody knows
/// what devices had been given, so that there is nothing to hand over.
const MISSED: &str = r"
if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
local entries = redis.call('XRANGE', queue, oldest(), '+')
for _, entry in ipairs(read(taken, 'XRANGE', taken, '-', '+')) do
  entries[#entries + 1] = {entry[2][2], entry[2]}
end
return entries
";

/// Notes that the user is on this node, and tells the other nodes where the user is. Nothing where the node is taken for
/// dead: it has to join anew.
const ENTER: &str = r"
local this, mode, lifetime, channel, text = unpack(ARGV, FIRST)
if redis.call('EXISTS', leases .. this) == 0 then return false end
redis.call('HSET', present, this, mode)
redis.call('PEXPIRE', present, lifetime)
local live, anybody = nodes(this)
local heard, newest = 0, '0-0'
for _, node in ipairs(live) do
  if channel ~= '' and node ~= this then heard = heard + redis.call(PUBLISH, channel .. node, text) end
end
if redis.call('TYPE', queue).ok == 'stream' then
  local about = redis.call('XINFO', 'STREAM', queue)
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then newest = about[i + 1] end
  end
end
return {#live - 1, heard, anybody and 1 or 0, newest}
";

/// Notes that the user is on this node no more. An empty stream is of no use then, unless somebody may still acknowledge.
const LEAVE: &str = r"
redis.call('HDEL', present, ARGV[FIRST])
local left, _, acks = account()
if left == 0 and not acks and redis.call('EXISTS', present) == 0 then discard() end
";

/// Reads the queue behind an entry for a client that acknowledges, cut to the cap where there is one, and how many were
/// lost.
const BACKLOG: &str = r"
local left, dropped = account()
local gone = redis.call('XTRIM', queue, 'MINID', oldest())
if cap > 0 then gone = gone + redis.call('XTRIM', queue, 'MAXLEN', cap) end
note(left - gone, dropped + gone, true)
return {dropped + gone, from('(' .. ARGV[FIRST])}
";

/// Removes what was acknowledged, and what was told of losses. An empty stream stays until it expires: it knows its
/// last id, which must not be given twice while somebody may still acknowledge it.
const CONFIRM: &str = r"
local _, dropped = account()
note(remove(FIRST + 1), math.max(0, dropped - tonumber(ARGV[FIRST])), true)
";

/// Claims an idempotency key, renews the claim, or notes what became of the request. The key is a hash, which expires
/// with its claim as long as there is nothing else to remember. One that is `held` is another node's, which lives.
const ONCE: &str = r"
local once, step, by, body, lasts = KEYS[1], unpack(ARGV)
local known = redis.call('HMGET', once, 'body', 'by', 'until', 'answer', 'part')
local known_body, holder, held_until, answer, part = unpack(known)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = holder and holder ~= by and tonumber(held_until) > now

local function hold()
  redis.call('HSET', once, 'by', by, 'until', string.format('%.0f', now + lasts))
  if not part then redis.call('PEXPIRE', once, lasts) end
end

if step == 'claim' then
  if is_late(tonumber(ARGV[5])) then return LATE end
  if held then return {'at work', false} end
  if (answer or part) and known_body ~= body then return {'another', false} end
  if answer then return {'answered', answer} end
  redis.call('HSET', once, 'body', body)
  hold()
  return {'ours', part}
end
if answer or held then return end
if step == 'renew' then
  hold()
elseif step == 'nothing' and not part then
  redis.call('DEL', once)
else
  redis.call('HDEL', once, 'by', 'until')
  if step ~= 'nothing' then
    redis.call('HSET', once, 'body', body, step, ARGV[5])
    redis.call('PEXPIRE', once, lasts)
  end
end
";

/// The time, and the bound of memory with what happens at it, where the user may know that. The whole answer to `INFO` would be a
/// hundred times as long.
const LOOK: &str = r"
local now, about = redis.call('TIME'), redis.pcall('INFO', 'memory')
if type(about) ~= 'string' then return {now[1], now[2], false} end
local bound, policy = string.match(about, 'maxmemory:(%d+)'), string.match(about, 'maxmemory_policy:(%S+)')
return {now[1], now[2], {bound or '0', policy or ''}}
";

pub(super) struct Scripts {
    look: Script,
    append: Script,
    put_back: Script,
    read: Script,
    drain: Script,
    renew_drain: Script,
    release: Script,
    remove: Script,
    claim: Script,
    missed: Script,
    backlog: Script,
    confirm: Script,
    enter: Script,
    leave: Script,
    once: Script,
    partitions: Partitions,
    limits: Limits,
    clock: Clock,
}

impl Scripts {
    pub(super) fn new(partitions: Partitions, limits: Limits, clock: Clock) -> Self {
        let publish = partitions.publish();
        let settings = format!("local AT_A_TIME, PUBLISH = {AT_A_TIME_BYTES}, '{publish}'");
        let script = |code: &str| Script::new(&without_comments(&format!("{settings}{LATENESS}{COMMON}{code}")));
        Self {
            look: Script::new(LOOK),
            append: script(APPEND),
            put_back: script(PUT_BACK),
            read: script(READ),
            drain: script(DRAIN),
            renew_drain: script(RENEW_DRAIN),
            release: script(RELEASE),
            remove: script(REMOVE),
            claim: script(CLAIM),
            missed: script(MISSED),
            backlog: script(BACKLOG),
            confirm: script(CONFIRM),
            enter: script(ENTER),
            leave: script(LEAVE),
            once: Script::new(&format!("{LATENESS}{ONCE}")),
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
            &self.put_back,
            &self.read,
            &self.drain,
            &self.renew_drain,
            &self.release,
            &self.remove,
            &self.claim,
            &self.missed,
            &self.backlog,
            &self.confirm,
            &self.enter,
            &self.leave,
            &self.once,
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
        let mut call = self.call(&self.append, user_id, self.bound());
        call.arg(self.bound()).arg("").arg("").arg("").arg(self.deadline());
        call
    }

    /// The same as [`Scripts::append`] for events that this node hands to every node where the user is, at the channel that begins
    /// so. Nothing where the node is taken for dead: the user may be on it.
    pub(super) fn route(&self, user_id: &str, channel: &str, node: &str, body: &str) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.append, user_id, self.limits.max_events);
        call.arg(self.bound()).arg(channel).arg(node).arg(body).arg(self.deadline());
        call
    }

    /// Takes the entry that each event came after, and its payload.
    pub(super) fn put_back(&self, user_id: &str) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.put_back, user_id, self.bound());
        call.key(self.partitions.of(user_id).key(user_id, "anew")).arg(self.deadline());
        call
    }

    /// What is claimed can still be missed for this time; not at all where it is zero.
    pub(super) fn claim(&self, user_id: &str, lately: Duration) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.claim, user_id, 0);
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
