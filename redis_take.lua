-- Deletes a session, announces it, and returns {what was stored, milliseconds that it would have lived on}.
--
-- KEYS[1]  the session's key
-- ARGV[1]  the channel for events
-- ARGV[2]  the session's id
--
-- What is not a session is returned as {value}, and left where it is.
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
