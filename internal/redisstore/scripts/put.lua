-- Writes a value and announces it, if what is stored now meets the condition.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the data, without a header
-- ARGV[2]  the TTL in milliseconds
-- ARGV[3]  the channel for events
-- ARGV[4]  the value's id
-- ARGV[5]  the header that must be stored now; "absent" for none; "" or no argument for any or none
-- ARGV[6]  the absolute expiry in milliseconds since the epoch; no argument for none
--
-- Returns the new revision as 16 hex digits, or "missing", "exists", "conflict", "corrupt".
local expected = ARGV[5] or ''
local current = 0
local header = redis.call('GETRANGE', KEYS[1], 0, 16)
if header == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  if expected ~= '' and expected ~= 'absent' then
    return 'missing'
  end
elseif expected == 'absent' then
  return 'exists'
else
  local digits = string.match(header, '^1(000[0-9a-f]+)$')
  if not digits or #digits < 16 then
    return 'corrupt'
  elseif expected ~= '' and expected ~= header then
    return 'conflict'
  end
  current = tonumber(digits, 16)
end

local time = redis.call('TIME')
local px = ARGV[2]
if ARGV[6] then
  -- Redis keeps a key through the last millisecond of its TTL. The value must be gone when the millisecond of the
  -- absolute expiry begins.
  px = math.min(px, ARGV[6] - 1 - (time[1] * 1000 + math.floor(time[2] / 1000)))
  if px <= 0 then
    return 'missing'
  end
end
local revision = string.format('%016x', math.max(current + 1, time[1] * 1000000 + time[2]))

-- PUBLISH comes first: without permission to publish, nothing is written. A superfluous event costs one cache miss.
redis.call('PUBLISH', ARGV[3], 'C' .. revision .. ARGV[4])
redis.call('SET', KEYS[1], '1' .. revision .. ARGV[1], 'PX', px)
return revision
