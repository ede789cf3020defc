-- Takes ARGV[1] milliseconds off the TTL of every key in every database.
for db = 0, 15 do
  if not redis.pcall('SELECT', db).err then -- a Cluster has one database only
    for _, key in ipairs(redis.call('KEYS', '*')) do
      local left = redis.call('PTTL', key)
      if left >= 0 then
        redis.call('PEXPIRE', key, left - ARGV[1])
      end
    end
  end
end
