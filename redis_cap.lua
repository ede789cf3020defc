-- Takes back what a GETEX gave too much: a session is not kept beyond its absolute expiry.
--
-- KEYS[1]  the session's key
-- ARGV[1]  the header that the session was loaded with: another writer may have moved the expiry since
-- ARGV[2]  the absolute expiry in milliseconds since the epoch
if redis.call('GETRANGE', KEYS[1], 0, 16) == ARGV[1] then
  redis.call('PEXPIREAT', KEYS[1], ARGV[2] - 1) -- a key lives through its last millisecond
end
return false
