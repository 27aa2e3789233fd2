-- The whole record as it is at one moment, but the kinds of keys that are left out.
-- Returns {key, type, end (ms since 1970, -1 for none), value}; hashes and sorted sets as flat lists.
local request = cjson.decode(ARGV[1])
local left_out, seen, found, cursor = {}, {}, {}, '0'
for _, kind in ipairs(request.left_out) do left_out[kind] = true end

local function value_of(name, type)
  if type == 'hash' then return redis.call('HGETALL', name) end
  if type == 'set' then return redis.call('SMEMBERS', name) end
  if type == 'zset' then return redis.call('ZRANGE', name, 0, -1, 'WITHSCORES') end
  if type == 'list' then return redis.call('LRANGE', name, 0, -1) end
  if type == 'stream' then return redis.call('XRANGE', name, '-', '+') end
  return redis.call('GET', name)
end

repeat
  local page = redis.call('SCAN', cursor, 'MATCH', request.prefix .. ':*', 'COUNT', 1000)
  cursor = page[1]
  for _, name in ipairs(page[2]) do
    if not seen[name] and not left_out[name:match('^[^:]+:([^:]+)')] then
      seen[name] = true
      local type = redis.call('TYPE', name).ok
      found[#found + 1] = {name, type, tostring(redis.call('PEXPIRETIME', name)), value_of(name, type)}
    end
  end
until cursor == '0'
return found
