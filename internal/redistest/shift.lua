-- Takes ARGV[1] milliseconds off the TTL of every key in every database, and off the stamps of owners' indexes, which are
-- instants: in the indexes, and in the headers of values.
local function shiftStamps(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -ARGV[1] * 1000, member)
    end
  elseif kind == 'string' then
    local header = redis.call('GETRANGE', key, 0, 120)
    local stamp = tonumber(string.match(header, '^2000[0-9a-f]+$') and string.sub(header, 106, 121) or '0', 16)
    if stamp > 0 then
      redis.call('SETRANGE', key, 105, string.format('%016x', stamp - ARGV[1] * 1000))
    end
  end
end

for db = 0, 15 do
  if not redis.pcall('SELECT', db).err then -- a Cluster has one database only
    for _, key in ipairs(redis.call('KEYS', '*')) do
      shiftStamps(key)
      local left = redis.call('PTTL', key)
      if left >= 0 then
        redis.call('PEXPIRE', key, left - ARGV[1])
      end
    end
  end
end
