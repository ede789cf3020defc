-- Tells which sessions are still stored with the revision that they were loaded with, and keeps those alive.
--
-- KEYS         the sessions' keys
-- ARGV[1]      the idle lifetime in milliseconds
-- ARGV[2i]     the header that must be stored under KEYS[i]
-- ARGV[2i + 1] the absolute expiry of that session in milliseconds since the epoch; "" for none
--
-- Returns a string with one digit for each key: 1 if it is stored so, else 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, key in ipairs(KEYS) do
  local px = tonumber(ARGV[1])
  if ARGV[2 * i + 1] ~= '' then
    px = math.min(px, ARGV[2 * i + 1] - 1 - now) -- a key lives through its last millisecond
  end
  answers[i] = '0'
  -- pcall: something else under one of the keys is no reason to fail for the others.
  if px > 0 and redis.pcall('GETRANGE', key, 0, 16) == ARGV[2 * i] then
    redis.call('PEXPIRE', key, px)
    answers[i] = '1'
  end
end
return table.concat(answers)
