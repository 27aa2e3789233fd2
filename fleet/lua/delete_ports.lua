-- Take ports out of the pool. `strict`: one that is missing or held refuses all; else those are passed over.
local request = cjson.decode(ARGV[1])
local members = {}
for _, member in ipairs(request.members) do
  local holder = redis.call('HGET', K.port(member), 'internal_id')
  if request.strict and not holder then return refuse('missing') end
  if request.strict and holder ~= '' then return refuse('held', holder) end
  if holder == '' then members[member] = true end
end
local count = 0
for member in pairs(members) do
  local port = redis.call('HMGET', K.port(member), 'ip', 'port', 'protocol')
  redis.call('DEL', K.port(member))
  redis.call('ZREM', K.ports(), member)
  redis.call('SREM', K.ports_free(port[3]), member)
  redis.call('SREM', K.port_addresses(port[3], port[2]), port[1])
  count = count + 1
end
return {'ok', tostring(count)}
