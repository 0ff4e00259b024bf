-- Reads the queue for a plain client that is to be handed it, and notes that (`draining`). Nothing where it is on its
-- way to another already, whose node renews its note for as long. Where Redis has no memory left for the note, the
-- queue is handed over without.

local drain, lasts, draining = ARGV[FIRST], ARGV[FIRST + 1], KEYS[5]
if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
local entries = from(oldest())
if #entries == 0 then return entries end
local noted = redis.pcall('SET', draining, drain, 'NX', 'PX', lasts)
if noted == false and redis.call('GET', draining) ~= drain then return false end
return entries
