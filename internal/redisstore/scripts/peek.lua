-- Returns what is stored under a key. Its TTL stays as it is.
--
-- KEYS[1]  the value's key
--
-- Returns a string, or 0 if there is none, or 1 if it is of another type.
local stored = redis.pcall('GET', KEYS[1])
if wrongType(stored) then
  return 1
elseif type(stored) == 'table' then
  return stored -- another error
end
refuseHere(KEYS[1]) -- what a server has that takes no writes may be old, "none" included
return stored or 0
