-- Claims an idempotency key, renews the claim, or notes what became of the request. The key is a hash, which expires
-- with its claim as long as there is nothing else to remember. One that is `held` is another node's, which lives.

local once, step, by, body, lasts = KEYS[1], unpack(ARGV)
local known = redis.call('HMGET', once, 'body', 'by', 'until', 'answer', 'part')
local known_body, holder, held_until, answer, part = unpack(known)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = holder and holder ~= by and tonumber(held_until) > now

local function hold()
  redis.call('HSET', once, 'by', by, 'until', string.format('%.0f', now + lasts))
  if not part then redis.call('PEXPIRE', once, lasts) end
end

if step == 'claim' then
  if is_late(tonumber(ARGV[5])) then return LATE end
  if held then return {'at work', false} end
  if (answer or part) and known_body ~= body then return {'another', false} end
  if answer then return {'answered', answer} end
  redis.call('HSET', once, 'body', body)
  hold()
  return {'ours', part}
end
if answer or held then return end
if step == 'renew' then
  hold()
elseif step == 'nothing' and not part then
  redis.call('DEL', once)
else
  redis.call('HDEL', once, 'by', 'until')
  if step ~= 'nothing' then
    redis.call('HSET', once, 'body', body, step, ARGV[5])
    redis.call('PEXPIRE', once, lasts)
  end
end
