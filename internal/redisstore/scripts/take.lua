-- Deletes a value, announces it, and returns {what was stored, its remaining TTL in milliseconds}.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the channel for events
-- ARGV[2]  the value's id
-- ARGV[3]  a shard channel, see announce.lua; or none
--
-- Returns 0 if there is none, 1 if it is of another type. A string that is no value is returned as {string}. None of
-- these is deleted.
local stored = redis.pcall('GET', KEYS[1])
if wrongType(stored) then
  return 1
elseif type(stored) == 'table' then
  return stored -- another error
end
local gone = stored and revision(string.sub(stored, 1, headerEnd + 1))
if stored and not gone then
  return {stored}
end
local left = refuseHere(KEYS[1])
if not stored then
  return 0
end
announce(ARGV[1], 'R' .. gone .. ARGV[2], ARGV[3])
redis.call('DEL', KEYS[1])
return {stored, left}
