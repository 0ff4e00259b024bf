-- The time, and the bound of memory with what happens at it, where the user may know that. The whole answer to `INFO` would be a
-- hundred times as long.

local now, about = redis.call('TIME'), redis.pcall('INFO', 'memory')
if type(about) ~= 'string' then return {now[1], now[2], false} end
local bound, policy = string.match(about, 'maxmemory:(%d+)'), string.match(about, 'maxmemory_policy:(%S+)')
return {now[1], now[2], {bound or '0', policy or ''}}
