-- Add ports to the pool, all or none. The wildcard address of a family stands for every single one.
local request = cjson.decode(ARGV[1])

local function family(ip) return ip:find(':', 1, true) and 6 or 4 end
local function overlap(a, b)
  if family(a) ~= family(b) then return false end
  return a == b or a == '0.0.0.0' or a == '::' or b == '0.0.0.0' or b == '::'
end

for _, port in ipairs(request.ports) do
  local addresses = redis.call('SMEMBERS', K.port_addresses(port.protocol, port.port))
  for _, ip in ipairs(addresses) do
    if overlap(ip, port.ip) then return refuse('exists', port.ip, port.port) end
  end
end
for _, port in ipairs(request.ports) do
  local member = port.ip .. '|' .. port.port .. '|' .. port.protocol
  redis.call('HSET', K.port(member), 'ip', port.ip, 'port', port.port, 'protocol', port.protocol,
    'node', port.node, 'internal_id', '', 'in_use', '0')
  redis.call('ZADD', K.ports(), 0, member)
  redis.call('SADD', K.ports_free(port.protocol), member)
  redis.call('SADD', K.port_addresses(port.protocol, port.port), port.ip)
end
return {'ok'}
