-- Goes in front of the other scripts. value.go describes the header, and reads the same.
local headerEnd = 120 -- for GETRANGE, which counts from 0 and includes the last byte
local none = '0000000000000000' -- in the place of a revision
local longest = 2 ^ 43 -- milliseconds, 278 years: no key's TTL is set to more
local hour = 3600000 -- milliseconds
local lastStamp = 2 ^ 52 - 1 -- microseconds since 1970, in the year 2112

-- Returns the 16 digits of the revision in the first headerEnd + 1 bytes of what is stored, or nil if these are no
-- header.
local function revision(header)
  if #header == headerEnd + 1 and string.find(header, '^2000[0-9a-f]+$') then
    local digits = string.sub(header, 2, 17)
    return digits ~= none and digits or nil
  end
end

-- Reports whether redis.pcall failed because the key holds another type than a string. Only the code counts: the rest
-- of an error is text.
local function wrongType(reply)
  return type(reply) == 'table' and string.sub(reply.err, 1, 10) == 'WRONGTYPE '
end

-- Returns the time of the server, which it reads once: {seconds, microseconds}.
local time
local function clock()
  time = time or redis.call('TIME')
  return time
end

-- Returns the time of the server in microseconds.
local function now()
  return clock()[1] * 1000000 + clock()[2]
end

-- Returns for how many milliseconds a value may live from now on, if it has no owner: for the idle time in its header, or
-- else the TTL, less the time since its use, but not past the end in its header. The second result is for how much
-- longer an owner's index lists it, the third whether it lives until its end. The times are 24 digits of a header, idle
-- time and end.
local function span(times, ttl, since)
  local left = tonumber(string.sub(times, 1, 12), 16)
  if left == 0 then
    left = tonumber(ttl)
  end
  left = math.min(left, longest)
  local slack = math.min(left, hour)
  left = left - (since or 0)
  local over, ends = tonumber(string.sub(times, 13, 24), 16), false
  if over ~= 0 then
    -- Redis keeps a key through the last millisecond of its TTL. The value must be gone when the millisecond of its end
    -- begins.
    local rest = over - 1 - math.floor(now() / 1000)
    ends = rest < left
    left = math.min(left, rest)
  end
  return left, slack, ends
end

-- Returns until when a value is listed that is listed now, in microseconds since 1970.
local function listedUntil(left, slack)
  return (math.floor(now() / 1000) + left + slack) * 1000
end

-- Returns the hash of the owner in a header, or nil if there is none.
local function owner(header)
  local hash = string.sub(header, 74, 105)
  return hash ~= none .. none and hash or nil
end

-- Returns for how many milliseconds a value may live from now on. It has ended if there are none. A value with an owner
-- does not outlive its listing: so whatever fails, no index misses a value that lives. The second result is true if it
-- has to be listed anew: because it will soon live for less than its own lifetime, or in case that its index was lost.
local function lifetime(header, ttl, since)
  local left, slack, ends = span(string.sub(header, 50, 73), ttl, since)
  if not owner(header) then
    return left, false
  end
  local stamp = tonumber(string.sub(header, 106, 121), 16)
  local listed = math.floor((stamp - now()) / 1000)
  local due = listed < left + slack * 3 / 4
  if ends then -- the two become less at the same rate, but list.lua has added when it was listed
    due = stamp - listedUntil(left, slack) < clock()[1] - slack / 4000
  end
  return math.min(left, listed), due and stamp < lastStamp
end

-- Fails where writes are refused, on a replica for example, and changes nothing elsewhere. It is for writes that free
-- memory, which a server without memory accepts. A refused write must not be announced before: all replicas would drop
-- their copies. And "none" is no answer where writes are refused. Returns the TTL in milliseconds.
local function refuseHere(key)
  local left = redis.call('PTTL', key)
  if left ~= -1 then -- that has no TTL, and gets none
    redis.call('PEXPIRE', key, math.max(left, 1))
  end
  return left
end

