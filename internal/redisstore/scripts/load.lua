-- Returns what is stored under a key, and starts its idle time anew if it is a value: its own, or else the store's TTL,
-- but not past its end. Anything else keeps its TTL, or has none. load_plain.lua has read what is stored.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the store's TTL in milliseconds
--
-- Returns a string, or 0 if there is none, or 1 if it is of another type. A value that has to be listed anew with its
-- owner is returned as {string}.
if wrongType(stored) then
  return 1
elseif type(stored) == 'table' then
  return stored -- another error
elseif not stored then
  -- PEXPIRE is refused where writes are, on a replica for example, whose "none" says nothing.
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return 0
end
local header = string.sub(stored, 1, headerEnd + 1)
if not revision(header) then
  return stored
end
-- Past its end the value could not be loaded, but a writer with a copy could store it with a later end.
local left, due = lifetime(header, ARGV[1])
redis.call('PEXPIRE', KEYS[1], left) -- deletes a value that has ended
if left <= 0 then
  return 0
end
return due and {stored} or stored
