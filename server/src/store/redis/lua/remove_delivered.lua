-- Removes stored events that a plain client was sent live, so that no connect is given them; unless somebody
-- acknowledges. A node that was out of touch finds them in `taken` for a while, unless Redis has no memory left for
-- that. Of several nodes with such clients, only the first finds something to do.

local lately, bound, ENTRIES, entries = tonumber(ARGV[FIRST]), ARGV[FIRST + 1], FIRST + 2, {}
for i = ENTRIES, #ARGV do
  entries[#entries + 1] = redis.call('XRANGE', queue, ARGV[i], ARGV[i])[1]
end
if #entries == 0 then return end
local _, anybody = nodes()
if anybody then return end
if lately > 0 then
  for _, entry in ipairs(entries) do
    redis.pcall('XADD', taken, 'MAXLEN', bound, '*', 'entry', entry[1], unpack(entry[2]))
  end
  local now = redis.call('TIME')
  redis.call('XTRIM', taken, 'MINID', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - lately))
  redis.call('PEXPIRE', taken, lately)
end
local _, dropped, acks = account()
note(remove(ENTRIES), dropped, acks)
