-- Throws away what is too old for anybody to ask for it, and notes the age of what is left (QUEUE-31).

local left, dropped, acks = account()
local gone = 0
if left > 0 then gone = redis.call('XTRIM', queue, 'MINID', oldest()) end
note_oldest(KEYS[5], ARGV[FIRST])
note(left - gone, dropped + gone, acks)
