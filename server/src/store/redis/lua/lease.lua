-- Renews the lease of a node, or begins it, and says the signs of life. Being a write, it fails where Redis takes none. The epoch is drawn
-- by whoever comes first, so that all see when Redis has lost what it had.

local lease, epoch = KEYS[1], KEYS[2]
local lasts, drawn, kept, begins, channel, beat, all, beat_of_all = unpack(ARGV)
if begins == '0' and redis.call('EXISTS', lease) == 0 then return false end
redis.call('SET', lease, '1', 'PX', lasts)
redis.call('SET', epoch, drawn, 'NX')
redis.call('PEXPIRE', epoch, kept)
local heard = redis.call(PUBLISH, channel, beat)
if all ~= '' then redis.call(PUBLISH, all, beat_of_all) end
return {redis.call('GET', epoch), heard}
