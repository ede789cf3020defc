-- Goes behind header.lua, in front of the scripts that publish an event. On a Cluster their last argument is a shard
-- channel that may be on this server: see shard.go.

-- Publishes an event to all who watch this server. shard is nil unless this is a Cluster.
--
-- A shard channel does only if it has reached as many connections as there are on the channel for events. Each of those
-- in a shard channel is in that one, too. So when there are as many, they are the same ones, and all have the event.
-- Both are counted in this script, and so at the same instant. PUBLISH reaches all in any case, but on a Cluster each
-- node passes it on to all others.
--
-- SPUBLISH must not come last. Redis 7.4 and 8.0 refuse a command on the script's key directly behind an SPUBLISH to
-- another slot, while the slot of the key moves away: as if the key were another server's. A command without a key in
-- between ends that, and both PUBSUB and PUBLISH are such.
local function announce(events, event, shard)
  local reached = shard and redis.pcall('SPUBLISH', shard, event) -- an error: the channel is another server's
  if type(reached) == 'number' and reached > 0 then
    local all = redis.pcall('PUBSUB', 'NUMSUB', events)
    if type(all) == 'table' and all[2] and reached >= all[2] then
      return
    end
  end
  redis.call('PUBLISH', events, event)
end

