-- Tells for how long a value of an owner was not used, at most: since its last write, or the last use that its TTL
-- tells of. The TTL of a value without an idle time, or shortly before its end, tells of none: it ends with the value.
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
if lifetime(header, ARGV[2]) <= 0 then
  return {}
end
local idle = tonumber(string.sub(header, 50, 61), 16)
if idle == 0 then
  idle = tonumber(ARGV[2])
end
local written = math.floor((now() - tonumber(digits, 16)) / 1000)
return {digits, math.min(math.min(idle, longest) - left, written)}
