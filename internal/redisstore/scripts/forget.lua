-- Removes holders from the registry that have left, or whose note has not changed since a first look. Comparing and
-- removing is one step: a heartbeat in between would be wiped out.
--
-- KEYS[1]       the registry
-- ARGV[2i - 1]  a holder
-- ARGV[2i]      its note at the first look; "" for any
--
-- Returns 1.
beginWrite(KEYS[1])
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' or redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
