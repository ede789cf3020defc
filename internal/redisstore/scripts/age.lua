-- Tells for how long a value of an owner was not used.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the owner
-- ARGV[2]  the store's TTL in milliseconds
--
-- Returns {its revision, the milliseconds}, or {} if the owner has no value there that lives.
local left = refuseHere(KEYS[1])
local header = redis.pcall('GETRANGE', KEYS[1], 0, headerEnd)
local digits = type(header) == 'string' and revision(header)
if not digits or owner(header) ~= ARGV[1] then
  return {}
end
local used = lifetime(header, ARGV[2])
if used <= 0 then
  return {}
end
return {digits, used - left}
