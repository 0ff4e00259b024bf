-- Removes what was acknowledged, and what was told of losses. An empty stream stays until it expires: it knows its
-- last id, which must not be given twice while somebody may still acknowledge it.

local _, dropped = account()
note(remove(FIRST + 1), math.max(0, dropped - tonumber(ARGV[FIRST])), true)
