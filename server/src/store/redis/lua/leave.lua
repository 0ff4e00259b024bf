-- Notes that the user is on this node no more. An empty stream is of no use then, unless somebody may still acknowledge.

redis.call('HDEL', present, ARGV[FIRST])
local left, _, acks = account()
if left == 0 and not acks and redis.call('EXISTS', present) == 0 then discard() end
