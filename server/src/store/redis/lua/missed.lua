-- Reads whatever a node may have missed: what is queued, and what was taken lately. Without the stream nobody knows
-- what devices had been given, so that there is nothing to hand over.

if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
local entries = redis.call('XRANGE', queue, oldest(), '+')
for _, entry in ipairs(read(taken, 'XRANGE', taken, '-', '+')) do
  entries[#entries + 1] = {entry[2][2], entry[2]}
end
return entries
