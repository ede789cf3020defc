-- Tells which values are still stored with the revision that the caller knows, and keeps those alive from their last
-- use: for their own idle time, or else for the store's TTL, but not past their end.
--
-- KEYS         the values' keys
-- ARGV[1]      the store's TTL in milliseconds
-- ARGV[2i]     the revision that must be stored under KEYS[i]
-- ARGV[2i + 1] the time since the last use, in milliseconds
--
-- Returns a string with one digit for each key: 0 if another revision is stored, or none, or one that has ended; 1 if
-- that revision is stored; 2 if it also has to be listed anew with its owner. For each 2 the header follows.
local answers, headers = {}, {}
for i, key in ipairs(KEYS) do
  answers[i] = '0'
  -- pcall: a key of another type must not fail the call for the other keys.
  local header = redis.pcall('GETRANGE', key, 0, headerEnd)
  if type(header) == 'string' and revision(header) == ARGV[2 * i] then
    local left, due = lifetime(header, ARGV[1], ARGV[2 * i + 1])
    if left > 0 then
      -- A later use may have been told already. PEXPIRE is called in any case: it fails where writes are refused, whose
      -- answer says nothing.
      redis.call('PEXPIRE', key, math.max(left, redis.call('PTTL', key)))
      answers[i] = due and '2' or '1'
      headers[#headers + 1] = due and header or nil
    end
  end
end
return table.concat(answers) .. table.concat(headers)
