-- Removes a queue that was handed to a plain client, and ends the drain. What was lost before is told to the next client
-- that acknowledges (ACK-11).
-- Where somebody acknowledges, it was no delivery, and stays. While the user is present the stream stays, though it be
-- empty: it knows its last id, which devices compare.

if redis.call('GET', KEYS[5]) == ARGV[FIRST] then redis.call('DEL', KEYS[5]) end
local live, anybody = nodes()
if anybody then return end
local _, dropped, acks = account()
local left = remove(FIRST + 1)
if left == 0 and #live == 0 then discard() end
note(left, dropped, acks)
