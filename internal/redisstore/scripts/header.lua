-- Goes in front of the other scripts. value.go reads the same format.

-- Returns the 16 digits of the revision in a header, the first 17 bytes of what is stored, or nil if it is no header.
local function revision(header)
  local digits = string.match(header, '^1(000[0-9a-f]+)$')
  if digits and #digits == 16 and digits ~= '0000000000000000' then
    return digits
  end
end

-- Reports whether redis.pcall failed because the key holds another type than a string. Only the code counts: the rest
-- of an error is text.
local function wrongType(reply)
  return type(reply) == 'table' and string.sub(reply.err, 1, 10) == 'WRONGTYPE '
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

