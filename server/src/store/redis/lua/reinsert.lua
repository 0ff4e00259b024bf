-- Puts events back, each behind the entry that it came after and before those that are newer; of those that came after the
-- same entry the lower number comes first. A stream grows at its end only, so one with entries that are newer is written anew,
-- with their names: somebody may be about to acknowledge them. The very same is there already where the answer was lost.

local EVENTS, anew, ages, user = FIRST + 2, KEYS[5], KEYS[6], ARGV[FIRST + 1]
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
-- Whether an entry of the stream stands behind what came after `after`, as its `number`th.
local function is_behind(entry, after, number)
  local fields = entry[2]
  if fields[3] ~= 'after' then return is_newer(entry[1], after) end
  return is_newer(fields[4], after) or (fields[4] == after and tonumber(fields[6] or 0) > number)
end
-- Names between two others for these events, and as far apart as can be: more may come back. Where the second leaves no room in
-- its millisecond, behind whatever the clock names in the one before. Each is moved by the event's number: what was there before
-- and is gone has had the middle, and may still be acknowledged.
local function between(one, other, events)
  local since, past = parts(one)
  local time, high = parts(other)
  local low, many, names = 0, #events, {}
  if high <= many then time, low, high = time - 1, 1e12, 2e12 end
  if since == time then low = math.max(low, past) end
  local step = math.floor((high - low) / (many + 1))
  for i, event in ipairs(events) do
    local moved = tonumber(event[2][6]) % math.max(1, math.floor(step / 2))
    names[i] = string.format('%.0f-%.0f', time, low + i * step - moved)
  end
  return names
end

local left, dropped, acks = account()
local held, known, all, back, at, last = {}, {}, {}, {}, 0, '0-0'
if left > 0 then held = redis.call('XRANGE', queue, oldest(), '+') end
for _, entry in ipairs(held) do known[entry[2][2] or ''] = true end

-- Adds an entry of the stream to `all`; before it what comes back in front of it, under names between the last entry's
-- and its own.
local function follow(entry)
  local names = between(last, entry[1], back)
  for i, event in ipairs(back) do
    if is_newer(names[i], last) and is_newer(entry[1], names[i]) then event[1], last = names[i], names[i] end
    all[#all + 1] = event
  end
  all[#all + 1], back, last = entry, {}, entry[1]
end

for i = EVENTS, #ARGV, 3 do
  local after, number, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if not known[payload] then
    while held[at + 1] and not is_behind(held[at + 1], after, tonumber(number)) do
      at = at + 1
      follow(held[at])
    end
    back[#back + 1] = {false, {'payload', payload, 'after', after, 'number', number}}
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
note_oldest(ages, user)
note(math.min(#all, cap), dropped + left - #held + math.max(0, #all - cap), acks)
