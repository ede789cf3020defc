-- Tells which values are still stored with the revision that the caller knows, and starts the TTL of those anew.
--
-- KEYS         the values' keys
-- ARGV[1]      the TTL in milliseconds
-- ARGV[2i]     the header that must be stored under KEYS[i]
-- ARGV[2i + 1] the absolute expiry of that value in milliseconds since the epoch; "" for none
--
-- Returns a string with one digit for each key: 1 if that header is stored, else 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, key in ipairs(KEYS) do
  local px = tonumber(ARGV[1])
  if ARGV[2 * i + 1] ~= '' then
    px = math.min(px, ARGV[2 * i + 1] - 1 - now) -- Redis keeps a key through its last millisecond
  end
  answers[i] = '0'
  -- pcall: a key of another type must not fail the call for the other keys.
  if px > 0 and redis.pcall('GETRANGE', key, 0, 16) == ARGV[2 * i] then
    redis.call('PEXPIRE', key, px)
    answers[i] = '1'
  end
end
return table.concat(answers)
