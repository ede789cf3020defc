-- Lists a value in the index of its owner: a sorted set of ids, each with the time until when it is listed. The time is
-- also the stamp of the listing: while an id is listed it gets no stamp twice, so a writer that removes the id for one
-- stamp does not remove it for another writer.
--
-- KEYS[1]  the index
-- ARGV[1]  what stands for the id
-- ARGV[2]  the store's TTL in milliseconds
-- ARGV[3]  idle time and end as in the header of the value
--
-- Returns {the stamp in 16 hex digits, the one that the id had before, or ""}.
prune(KEYS[1])
local left, slack, ends = span(ARGV[3], ARGV[2])
local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
-- A value that lives until its end is listed until the same time whenever that is done. So that lifetime can tell when
-- it was, its stamp is later by a microsecond for each second since 1970: half an hour.
local stamp = listedUntil(left, slack) + (ends and clock()[1] or 0)
stamp = math.max(before + 1, math.min(stamp, lastStamp))
redis.call('ZADD', KEYS[1], string.format('%.0f', stamp), ARGV[1])
local alive = math.ceil((stamp - now()) / 1000) + minute -- the index must not end before its last listing
redis.call('PEXPIRE', KEYS[1], math.max(alive, redis.call('PTTL', KEYS[1])))
return {string.format('%016x', stamp), before > 0 and string.format('%016x', before) or ''}
