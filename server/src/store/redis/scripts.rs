//! What Redis does for a queue, each in one atomic step. Two keys of one slot: the stream with the events, and the ledger,
//! which counts what was lost.
//!
//! The ledger notes how many events are held. What is missing from the stream the next time was lost, however that came
//! about: by age, by the cap, with its key, or by an eviction. It outlives the stream, or there would be nobody to tell.

use redis::{Script, ScriptInvocation};

use crate::{queue::KEPT_AT_MOST, store::Limits};

/// How long the ledger of a user who acknowledges is kept after the last event or connect.
const REMEMBERED_MS: u128 = 30 * 24 * 60 * 60 * 1_000;

/// That of everybody else, who may yet begin to; not longer than a queue, whose TTL is a promise to forget.
const DAY_MS: u128 = 24 * 60 * 60 * 1_000;

/// A key of the wrong type was damaged from outside and is started anew (QUEUE-15).
const COMMON: &str = r"
local queue, ledger = KEYS[1], KEYS[2]
local cap, ttl, long, short = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local FIRST = 5

local function read(key, ...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  redis.call('DEL', key)
  return redis.call(...)
end

local function oldest()
  local now = redis.call('TIME')
  return string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ttl)
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
";

/// What is too old goes first, so that it does not count; then the cap. The key expires with its last entry.
const APPEND: &str = r"
local left, dropped, acks = account()
local gone, ids = 0, {}
if left > 0 then gone = redis.call('XTRIM', queue, 'MINID', oldest()) end
for i = FIRST, #ARGV do ids[#ids + 1] = redis.call('XADD', queue, '*', 'payload', ARGV[i]) end
if left + #ids - gone > cap then gone = gone + redis.call('XTRIM', queue, 'MAXLEN', cap) end
redis.call('PEXPIRE', queue, ttl)
note(left + #ids - gone, dropped + gone, acks)
return ids
";

const READ: &str = r"
if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
return redis.call('XRANGE', queue, oldest(), '+')
";

/// After a delivery to a client that acknowledges nothing, so what was lost before it is not told any more.
const REMOVE: &str = r"
local _, _, acks = account()
local left = remove(FIRST)
if left == 0 then redis.call('DEL', queue) end
note(left, 0, acks)
";

const BACKLOG: &str = r"
local left, dropped = account()
local gone = redis.call('XTRIM', queue, 'MINID', oldest())
if cap > 0 then gone = gone + redis.call('XTRIM', queue, 'MAXLEN', cap) end
note(left - gone, dropped + gone, true)
return {dropped + gone, redis.call('XRANGE', queue, '-', '+')}
";

/// An empty stream stays until it expires: it knows its last id, which must not be given twice while somebody may still
/// acknowledge it.
const CONFIRM: &str = r"
local _, dropped = account()
note(remove(FIRST + 1), math.max(0, dropped - tonumber(ARGV[FIRST])), true)
";

pub(super) struct Scripts {
    append: Script,
    read: Script,
    remove: Script,
    backlog: Script,
    confirm: Script,
    limits: Limits,
}

impl Scripts {
    pub(super) fn new(limits: Limits) -> Self {
        let script = |code: &str| Script::new(&format!("{COMMON}{code}"));
        Self {
            append: script(APPEND),
            read: script(READ),
            remove: script(REMOVE),
            backlog: script(BACKLOG),
            confirm: script(CONFIRM),
            limits,
        }
    }

    pub(super) fn append(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.call(&self.append, user_id, self.limits.max_events)
    }

    pub(super) fn keep(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.call(&self.append, user_id, self.limits.max_events.max(KEPT_AT_MOST))
    }

    pub(super) fn read(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.call(&self.read, user_id, 0)
    }

    pub(super) fn remove(&self, user_id: &str) -> ScriptInvocation<'_> {
        self.call(&self.remove, user_id, 0)
    }

    pub(super) fn backlog(&self, user_id: &str, trim: bool) -> ScriptInvocation<'_> {
        self.call(&self.backlog, user_id, if trim { self.limits.max_events } else { 0 })
    }

    pub(super) fn confirm(&self, user_id: &str, told: u64) -> ScriptInvocation<'_> {
        let mut call = self.call(&self.confirm, user_id, 0);
        call.arg(told);
        call
    }

    fn call<'a>(&self, script: &'a Script, user_id: &str, cap: usize) -> ScriptInvocation<'a> {
        let ttl = self.limits.ttl.as_millis();
        // The braces make one slot of a user's keys; the letters before the id keep them from being empty.
        let mut call = script.key(format!("notify:{{u:{user_id}}}:queue"));
        call.key(format!("notify:{{u:{user_id}}}:ledger"))
            .arg(cap)
            .arg(ttl.to_string())
            .arg(REMEMBERED_MS.max(ttl).to_string())
            .arg(DAY_MS.max(ttl).to_string());
        call
    }
}
