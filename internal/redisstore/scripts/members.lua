-- Returns all that is listed in an index: at one instant, so nothing is missing that is listed anew meanwhile.
--
-- KEYS[1]  the index
--
-- Returns what stands for each id.
prune(KEYS[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
