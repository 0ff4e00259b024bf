-- Renews the note that a queue is on its way.

if redis.call('GET', KEYS[5]) == ARGV[FIRST] then redis.call('PEXPIRE', KEYS[5], ARGV[FIRST + 1]) end
