-- Writes a session and announces it, if the stored revision allows it.
--
-- KEYS[1]  the session's key
-- ARGV[1]  the header that must be stored now; "" for any or none, "absent" for none
-- ARGV[2]  the encoded session, without a header
-- ARGV[3]  the idle lifetime in milliseconds
-- ARGV[4]  the absolute expiry in milliseconds since the epoch, or "" for none
-- ARGV[5]  the channel for events
-- ARGV[6]  the session's id
--
-- Returns the new revision as 16 hex digits, or "missing", "exists", "conflict", "corrupt".
local expected = ARGV[1]
local header = redis.call('GETRANGE', KEYS[1], 0, 16)
if header == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  if expected ~= '' and expected ~= 'absent' then
    return 'missing'
  end
elseif expected == 'absent' then
  return 'exists'
elseif #header < 17 or not string.find(header, '^1000[0-9a-f]+$') then
  return 'corrupt'
elseif expected ~= '' and expected ~= header then
  return 'conflict'
end

local time = redis.call('TIME')
local px = tonumber(ARGV[3])
if ARGV[4] ~= '' then
  -- A key lives through the last millisecond that it is given. It must be gone when that of the expiry begins.
  px = math.min(px, tonumber(ARGV[4]) - 1 - (time[1] * 1000 + math.floor(time[2] / 1000)))
  if px <= 0 then
    return 'missing'
  end
end

local current = 0
if header ~= '' then
  current = tonumber(string.sub(header, 2), 16)
end
local revision = string.format('%016x', math.max(current + 1, time[1] * 1000000 + time[2]))

-- Announced first: without permission to publish nothing is written, and an announcement too many costs a cache miss.
redis.call('PUBLISH', ARGV[5], 'C' .. revision .. ARGV[6])
redis.call('SET', KEYS[1], '1' .. revision .. ARGV[2], 'PX', px)
return revision
