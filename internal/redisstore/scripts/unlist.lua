-- Takes listings back, each if it is the last one of its id. Otherwise another writer has listed the id since.
--
-- KEYS[1]      the index
-- ARGV[3i - 2] what stands for an id
-- ARGV[3i - 1] the stamp of the listing
-- ARGV[3i]     the stamp that the id had before, which it gets back; "": it is removed from the index
--
-- Returns 1.
prune(KEYS[1])
for i = 1, #ARGV, 3 do
  local stamp = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if stamp and tonumber(stamp) == tonumber(ARGV[i + 1], 16) then
    local before = tonumber(ARGV[i + 2], 16)
    if before then
      redis.call('ZADD', KEYS[1], string.format('%.0f', before), ARGV[i])
    else
      redis.call('ZREM', KEYS[1], ARGV[i])
    end
  end
end
return 1
