-- Takes the note back: others may drain.

if redis.call('GET', KEYS[5]) == ARGV[FIRST] then redis.call('DEL', KEYS[5]) end
