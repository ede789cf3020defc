-- Writes a value and announces it, if what is stored now meets the condition. A writer that has lost the reply sends
-- the same command again, or asks what has become of it.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the data, without a header
-- ARGV[2]  the store's TTL in milliseconds
-- ARGV[3]  the channel for events
-- ARGV[4]  the value's id
-- ARGV[5]  the revision that must be stored now; "absent" for none; "present" for any; "" for any or none
-- ARGV[6]  what follows the revisions in the header, beginning with the write's token; with an owner, the value has been
--          listed in its index before
-- ARGV[7]  "ask": nothing is written; "keep": no value of another owner is replaced; else ""
-- ARGV[8]  a shard channel, see announce.lua; or none
--
-- Returns the new revision as 16 hex digits, and behind it, if a value was replaced, its owner and stamp if that was
-- another owner, else "=". Or "missing", "exists", "corrupt", "ended" if the value's end is over, "unlisted" if the
-- index does not list it any more; "owner" if a value of another one was to be kept; "replaced" if the expected
-- revision was replaced by what is stored now, "conflict" if another one is stored; "unknown" if the writer asks, and
-- another write or nothing is stored.
local header = redis.pcall('GETRANGE', KEYS[1], 0, headerEnd)
if wrongType(header) then
  return 'corrupt'
elseif type(header) == 'table' then
  return header -- another error
end
local digits = revision(header)

-- The token comes before the conditions, which are about what was stored before this write.
if digits and string.sub(header, 34, 49) == string.sub(ARGV[6], 1, 16) then
  -- Fails where writes are refused. And WAIT covers only what its own connection has written.
  redis.call('PEXPIRE', KEYS[1], (lifetime(header, ARGV[2])))
  return digits .. (string.sub(header, 18, 33) ~= none and '=' or '')
elseif ARGV[7] == 'ask' then
  return 'unknown'
end

-- Changes nothing, and fails wherever the SET below would: without memory, without replicas, on a replica. A refused
-- write must not be announced before, because all replicas would drop their copies. And a server that cannot write
-- judges no condition: what it has may be old.
local exists = header ~= '' or redis.call('EXISTS', KEYS[1]) == 1
redis.call('SET', KEYS[1], '', exists and 'NX' or 'XX')

local expected = ARGV[5]
if exists then
  if expected == 'absent' then
    return 'exists'
  elseif not digits then
    return 'corrupt'
  elseif expected ~= '' and expected ~= 'present' and expected ~= digits then
    return string.sub(header, 18, 33) == expected and 'replaced' or 'conflict'
  elseif ARGV[7] == 'keep' and string.sub(header, 74, 105) ~= string.sub(ARGV[6], 41, 72) then
    return 'owner'
  end
elseif expected ~= '' and expected ~= 'absent' then
  return 'missing'
end

local replaced, before = digits or none, digits and header
local new = string.format('%016x', math.max(tonumber(replaced, 16) + 1, now()))
header = '2' .. new .. replaced .. ARGV[6]
if not revision(header) then
  return redis.error_reply('ERR the clock of the server is past the last revision')
end
local left = lifetime(header, ARGV[2])
if left <= 0 then
  return span(string.sub(header, 50, 73), ARGV[2]) > 0 and 'unlisted' or 'ended'
end

-- The event comes first: without permission to publish, nothing is written. A superfluous event costs one cache miss.
announce(ARGV[3], 'C' .. new .. ARGV[4], ARGV[8])
redis.call('SET', KEYS[1], header .. ARGV[1], 'PX', left)
if before and owner(before) and owner(before) ~= owner(header) then
  return new .. string.sub(before, 74, 121)
end
return new .. (before and '=' or '')
