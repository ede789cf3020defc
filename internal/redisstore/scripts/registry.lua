-- Goes in front of the scripts that use the registry of holders: a hash with a note for each of them, and, in the field
-- "!", a random identity. It is a key like others, and may be lost; the next one has another identity.

-- A write that changes nothing and needs no memory. It fails where writes are refused, on a replica for example. And
-- after it a server without memory takes the writes that follow: a full Redis must not end all leases.
local function beginWrite(registry)
  redis.call('HDEL', registry, '')
end

-- Publishes a message on the channel of one link, and returns how many subscribers of that channel this very server has.
-- What PUBLISH returns would not do: it counts those of patterns, too. With a monitor on the server that subscribes to
-- "*", every message would seem to have arrived. On a Cluster the shard channel of the link comes first, if it may have
-- one: only PUBLISH is passed on to all nodes. What SPUBLISH returns would not do either: behind an address that hides
-- several servers, it is not 0 although the subscription is not on this one.
local function deliver(channel, message, shard)
  local reached = shard and shard ~= '' and redis.pcall('SPUBLISH', shard, message)
  if type(reached) ~= 'number' or reached == 0 then
    redis.call('PUBLISH', channel, message)
  end
  return redis.call('PUBSUB', 'NUMSUB', channel)[2]
end

-- Returns the id of the replication history of this server. A promotion begins another one. So a server that has the same
-- one as before has been the master ever since. "" where INFO is refused.
local function history()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
end

-- Notes a heartbeat of a holder, and returns the identity of the registry: the given one if there was none.
local function noteHolder(registry, name, note, identity)
  beginWrite(registry)
  redis.call('HSETNX', registry, '!', identity)
  redis.call('HSET', registry, name, note)
  return redis.call('HGET', registry, '!')
end

