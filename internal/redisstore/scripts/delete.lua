-- Deletes what is stored under a key, and announces it.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the channel for events
-- ARGV[2]  the value's id
-- ARGV[3]  a shard channel, see announce.lua; or none
--
-- Returns 1, or the owner of the value and its stamp if it had one.
--
-- The event is published even when the key is gone already: another replica may still serve a copy. It comes before
-- DEL: without permission to publish, nothing is deleted.
refuseHere(KEYS[1])
local header = redis.pcall('GETRANGE', KEYS[1], 0, headerEnd)
local gone = type(header) == 'string' and revision(header)
announce(ARGV[1], 'R' .. (gone or none) .. ARGV[2], ARGV[3])
redis.call('DEL', KEYS[1])
return gone and owner(header) and string.sub(header, 74, 121) or 1
