-- Shortens a TTL that load.lua set past the absolute expiry.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the header that was read: another writer may have moved the absolute expiry since
-- ARGV[2]  the absolute expiry in milliseconds since the epoch
--
-- Returns 1, or 0 if another header is stored now.
if redis.call('GETRANGE', KEYS[1], 0, 16) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIREAT', KEYS[1], ARGV[2] - 1) -- Redis keeps a key through its last millisecond
return 1
