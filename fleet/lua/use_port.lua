-- Mark a port as used by something outside, or free again; never against the container that holds it.
local request = cjson.decode(ARGV[1])
local port = redis.call('HMGET', K.port(request.member), 'internal_id', 'protocol')
if not port[2] then return refuse('missing') end
if port[1] ~= '' then
  if request.in_use == '1' then return {'ok'} end
  return refuse('held', port[1])
end
redis.call('HSET', K.port(request.member), 'in_use', request.in_use)
if request.in_use == '1' then redis.call('SREM', K.ports_free(port[2]), request.member)
else redis.call('SADD', K.ports_free(port[2]), request.member) end
return {'ok'}
