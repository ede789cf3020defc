-- Proves from end to end that changes made here are delivered: it comes back to the one who sent it, behind all events
-- that were published before it.
--
-- KEYS[1]  a key for heartbeats
-- ARGV[1]  the sender's own channel
-- ARGV[2]  the number of this heartbeat
--
-- ARGV[3]  for how many milliseconds the key is set, or "" if it is not
--
-- It is a write: a master that was demoted, or has lost its replicas, would otherwise go on proving that it has no news.
-- To delete what is not there is enough for the server to refuse it, but is not sent to replicas: where those have to
-- acknowledge a heartbeat, the key is set.
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return false
