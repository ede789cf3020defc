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
local header = redis.pcall('GETRANGE', KEYS[1], 0, 16)
if wrongType(header) then
  return 'corrupt'
elseif type(header) == 'table' then
  return header -- another error
end
local exists = header ~= '' or redis.call('EXISTS', KEYS[1]) == 1

-- Changes nothing, and fails wherever the SET below would: without memory, without replicas, on a replica. A refused
-- write must not be announced before, because all replicas would drop their copies. And a server that cannot write
-- judges no condition: what it has may be old.
redis.call('SET', KEYS[1], '', exists and 'NX' or 'XX')

local expected = ARGV[5] or ''
local current = 0
if exists then
  local digits = revision(header)
  if expected == 'absent' then
    return 'exists'
  elseif not digits then
    return 'corrupt'
  elseif expected ~= '' and expected ~= header then
    return 'conflict'
  end
  current = tonumber(digits, 16)
elseif expected ~= '' and expected ~= 'absent' then
  return 'missing'
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
local new = '1' .. string.format('%016x', math.max(current + 1, time[1] * 1000000 + time[2]))
if not revision(new) then
  return redis.error_reply('ERR the clock of the server is past the last revision')
end

-- PUBLISH comes first: without permission to publish, nothing is written. A superfluous event costs one cache miss.
redis.call('PUBLISH', ARGV[3], 'C' .. string.sub(new, 2) .. ARGV[4])
redis.call('SET', KEYS[1], new .. ARGV[1], 'PX', px)
return string.sub(new, 2)
