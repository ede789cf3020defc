-- Proves from end to end that this server delivers events: the heartbeat comes back to its sender, behind all events
-- that were published before it.
--
-- KEYS[1]  a key that never exists
-- KEYS[2]  the registry of holders; none if the sender is no holder, or has noted this heartbeat before
-- ARGV[1]  the sender's own channel
-- ARGV[2]  the number of this heartbeat
-- ARGV[3]  with KEYS[2]: the holder, then its note, then the identity of the registry if there is none; without, the
--          sender's own shard channel, in the slot of KEYS[1], if it has one
--
-- Returns {how many subscribers of this very server it was delivered to, its history, with KEYS[2] the registry's
-- identity}.
--
-- The DEL deletes nothing, but it makes the script a write, which fails where writes are refused. Otherwise a demoted
-- master, or one that lacks the replicas that it is configured to have, would go on proving that there is no news.
local refusal = redis.pcall('DEL', KEYS[1])
if type(refusal) == 'table' then
  return refusal -- with its code in front, where Redis 6.2 would put text
end
if not KEYS[2] then
  return {deliver(ARGV[1], ARGV[2], ARGV[3]), history()}
end
-- The holder is noted before anything is proven to it: a fence that does not find it is ahead of its heartbeat.
local identity = noteHolder(KEYS[2], ARGV[3], ARGV[4], ARGV[5])
return {deliver(ARGV[1], ARGV[2]), history(), identity}
