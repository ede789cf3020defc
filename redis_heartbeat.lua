-- Proves from end to end that changes made here are delivered: it comes back to the one who sent it, behind all events
-- that were published before it.
--
-- KEYS[1]  a key that never exists
-- ARGV[1]  the sender's own channel
-- ARGV[2]  the number of this heartbeat
--
-- Returns how many subscribers of this very server it was delivered to.
--
-- It deletes nothing, but only where writes are accepted: a master that was demoted, or that misses the replicas which
-- it is configured to have, would otherwise go on proving that it has no news.
redis.call('DEL', KEYS[1])
return redis.call('PUBLISH', ARGV[1], ARGV[2])
