-- What every script about a user begins with: its keys and arguments by name, and what several of them do.
--
-- A key of the wrong type was damaged from outside and is started anew (QUEUE-15).

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

-- Notes when the oldest entry was made, so that it is thrown away when it is too old (`sweep`); nothing where Redis has no memory left for
-- that, or its user may not.
local function note_oldest(ages, user)
  local first = redis.call('XRANGE', queue, '-', '+', 'COUNT', 1)[1]
  if not first then return redis.pcall('ZREM', ages, user) end
  redis.pcall('ZADD', ages, string.match(first[1], '%d+'), user)
  redis.pcall('PEXPIRE', ages, string.format('%.0f', 2 * ttl + 3.6e6))
end

-- An empty stream of somebody who is nowhere is of use for as long only as something that was taken may be looked for.
local function discard()
  local lately = redis.call('PTTL', taken)
  if lately > 0 then redis.call('PEXPIRE', queue, lately) else redis.call('DEL', queue) end
end
