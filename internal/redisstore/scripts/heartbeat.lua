-- Proves from end to end that this server delivers events: the heartbeat comes back to its sender, behind all events
-- that were published before it.
--
-- KEYS[1]  a key that never exists
-- ARGV[1]  the sender's own channel
-- ARGV[2]  the number of this heartbeat
--
-- Returns how many subscribers of this very server it was delivered to.
--
-- The DEL deletes nothing, but it makes the script a write, which fails where writes are refused. Otherwise a demoted
-- master, or one that lacks the replicas that it is configured to have, would go on proving that there is no news.
local refusal = redis.pcall('DEL', KEYS[1])
if type(refusal) == 'table' then
  return refusal -- with its code in front, where Redis 6.2 would put text
end
return redis.call('PUBLISH', ARGV[1], ARGV[2])
