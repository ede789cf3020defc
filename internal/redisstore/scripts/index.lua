-- Goes in front of the scripts that use the index of an owner, behind header.lua.
local minute = 60000 -- milliseconds

-- Removes what is not listed any more. The clock of the server that has a value may be behind this one's, by up to a
-- minute: until then a value may live. As a write it fails where writes are refused, on a replica for example, whose
-- index may be old; and a server without memory takes the writes that follow it.
local function prune(index)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.0f', now() - minute * 1000))
end

