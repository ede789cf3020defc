-- Deletes a value if it belongs to an owner, and announces that.
--
-- KEYS[1]  the value's key
-- ARGV[1]  the channel for events
-- ARGV[2]  the value's id
-- ARGV[3]  the owner
-- ARGV[4]  the revision that must be stored; "" for any
-- ARGV[5]  a shard channel, see announce.lua; or none
--
-- Returns the stamp of its listing, or "" if another value is stored, or none.
refuseHere(KEYS[1])
local header = redis.pcall('GETRANGE', KEYS[1], 0, headerEnd)
local gone = type(header) == 'string' and revision(header)
if not gone or owner(header) ~= ARGV[3] or ARGV[4] ~= '' and ARGV[4] ~= gone then
  return ''
end
announce(ARGV[1], 'R' .. gone .. ARGV[2], ARGV[5]) -- before DEL, as in delete.lua
redis.call('DEL', KEYS[1])
return string.sub(header, 106, 121)
