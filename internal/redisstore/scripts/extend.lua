-- Notes in a value that it has been listed anew with its owner, and lets it live for as long as it may now.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the revision that must be stored
-- ARGV[2]  the stamp of the listing
-- ARGV[3]  the store's TTL in milliseconds
-- ARGV[4]  the time since the last use, in milliseconds
--
-- Returns 1, or 0 if another revision is stored, or none.
local left = refuseHere(KEYS[1])
local header = redis.pcall('GETRANGE', KEYS[1], 0, headerEnd)
if type(header) ~= 'string' or revision(header) ~= ARGV[1] then
  return 0
end
if string.sub(header, 106, 121) < ARGV[2] then -- else it has been listed later by another replica
  redis.call('SETRANGE', KEYS[1], headerEnd + 1 - #ARGV[2], ARGV[2])
  header = string.sub(header, 1, 105) .. ARGV[2]
end
redis.call('PEXPIRE', KEYS[1], math.max(left, (lifetime(header, ARGV[3], ARGV[4]))))
return 1
