-- Reads the queue, and changes nothing.

if redis.call('TYPE', queue).ok ~= 'stream' then return {} end
return from(oldest())
