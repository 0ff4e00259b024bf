-- Appends events; with a channel, publishes them to every node where the user is as well. The cap is for users who are
-- on no node that listens, and of whom nobody acknowledges. The first write is one that needs memory: with another
-- before it, Redis would let it pass though it is full. What is too old goes before the cap, so that it does not
-- count. The key expires with its last entry. Whose queue has had none is noted by the age of the first.

local bound, channel, this, body, PAYLOADS = tonumber(ARGV[FIRST]), ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3], FIRST + 6
local ages, user = KEYS[5], ARGV[FIRST + 5]
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
-- Who was noted before and has had nothing since is noted too early, which is found out then.
if left == 0 and #ids > 0 and redis.pcall('ZADD', ages, 'NX', string.match(ids[1], '%d+'), user) == 1 then note_oldest(ages, user) end
note(left + #ids - gone, dropped + gone, acks)
for _, node in ipairs(dead) do redis.call('HDEL', present, node) end
return {ids, heard, anybody and 1 or 0}
