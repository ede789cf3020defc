-- Tells which values are still stored with the revision that the caller knows, and keeps those alive for a TTL from
-- their last use.
--
-- KEYS         the values' keys
-- ARGV[3i - 2] the header that must be stored under KEYS[i]
-- ARGV[3i - 1] what is left of the TTL since the last use, in milliseconds
-- ARGV[3i]     the absolute expiry of that value in milliseconds since the epoch; "" for none
--
-- Returns a string with one digit for each key: 1 if that header is stored, else 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, key in ipairs(KEYS) do
  local header, px, over = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), ARGV[3 * i]
  if over ~= '' then
    px = math.min(px, over - 1 - now) -- Redis keeps a key through its last millisecond
  end
  answers[i] = '0'
  -- pcall: a key of another type must not fail the call for the other keys.
  if px > 0 and revision(header) and redis.pcall('GETRANGE', key, 0, 16) == header then
    -- A later use may have been told already. PEXPIRE is called in any case: it fails where writes are refused, whose
    -- answer says nothing.
    redis.call('PEXPIRE', key, math.max(px, redis.call('PTTL', key)))
    answers[i] = '1'
  end
end
return table.concat(answers)
