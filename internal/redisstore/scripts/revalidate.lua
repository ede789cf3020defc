-- Tells which values are still stored with the revision that the caller knows, and keeps those alive from their last
-- use: for their own idle time, or else for the store's TTL, but not past their end.
--
-- KEYS         the values' keys
-- ARGV[1]      the store's TTL in milliseconds
-- ARGV[2i]     the revision that must be stored under KEYS[i]
-- ARGV[2i + 1] the time since the last use, in milliseconds
--
-- Returns a string with one digit for each key: 1 if that revision is stored, and has not ended, else 0.
local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = '0'
  -- pcall: a key of another type must not fail the call for the other keys.
  local header = redis.pcall('GETRANGE', key, 0, headerEnd)
  if type(header) == 'string' and revision(header) == ARGV[2 * i] then
    local left = lifetime(header, ARGV[1], ARGV[2 * i + 1])
    if left > 0 then
      -- A later use may have been told already. PEXPIRE is called in any case: it fails where writes are refused, whose
      -- answer says nothing.
      redis.call('PEXPIRE', key, math.max(left, redis.call('PTTL', key)))
      answers[i] = '1'
    end
  end
end
return table.concat(answers)
