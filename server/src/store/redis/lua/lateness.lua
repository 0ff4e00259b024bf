-- What comes too late, as out of the buffers of a Redis that stood still, was refused by then and is not done.

local function is_late(deadline)
  local now = redis.call('TIME')
  return deadline > 0 and now[1] * 1000 + now[2] / 1000 > deadline
end
local LATE = redis.error_reply('LATE nobody waits for this any more')
