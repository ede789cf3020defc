-- Returns what is stored under a key, and starts its TTL anew if it is a value. Anything else keeps its TTL, or has none.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the TTL in milliseconds
--
-- Returns a string, or 0 if there is none, or 1 if it is of another type.
local stored = redis.pcall('GET', KEYS[1])
if wrongType(stored) then
  return 1
elseif type(stored) == 'table' then
  return stored -- another error
elseif not stored or revision(string.sub(stored, 1, 17)) then
  -- Also when there is none: PEXPIRE is refused where writes are, on a replica for example, whose "none" says nothing.
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return stored or 0
