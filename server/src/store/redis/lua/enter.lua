-- Notes that the user is on this node, and tells the other nodes where the user is. Nothing where the node is taken for
-- dead: it has to join anew.

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
