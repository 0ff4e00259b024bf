-- Reads the queue behind an entry for a client that acknowledges, cut to the cap where there is one, and how many were
-- lost.

local left, dropped = account()
local gone = redis.call('XTRIM', queue, 'MINID', oldest())
if cap > 0 then gone = gone + redis.call('XTRIM', queue, 'MAXLEN', cap) end
note(left - gone, dropped + gone, true)
return {dropped + gone, from('(' .. ARGV[FIRST])}
