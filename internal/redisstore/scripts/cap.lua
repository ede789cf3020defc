-- Shortens a TTL that GETEX set past the absolute expiry.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the header that was read: another writer may have moved the absolute expiry since
-- ARGV[2]  the absolute expiry in milliseconds since the epoch
if redis.call('GETRANGE', KEYS[1], 0, 16) == ARGV[1] then
  redis.call('PEXPIREAT', KEYS[1], ARGV[2] - 1) -- Redis keeps a key through its last millisecond
end
return false
