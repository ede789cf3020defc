-- Deletes a value, announces it, and returns {what was stored, its remaining TTL in milliseconds}.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the channel for events
-- ARGV[2]  the value's id
--
-- A value without a valid header is returned as {value}, and not deleted.
local value = redis.call('GET', KEYS[1])
if not value then
  return false
end
if #value < 17 or not string.find(string.sub(value, 1, 17), '^1000[0-9a-f]+$') then
  return {value}
end
local left = redis.call('PTTL', KEYS[1])
redis.call('PUBLISH', ARGV[1], 'R' .. ARGV[2])
redis.call('DEL', KEYS[1])
return {value, left}
