-- Invariant: a container's record, its hold on each port, its use of the volume, its job and its first
-- event come into being together or not at all.
local request = cjson.decode(ARGV[1])
local id = request.container.internal_id

if redis.call('EXISTS', K.container(id)) == 1 then return refuse('exists') end
-- The engine calls the install of `x` what it calls the server of `x-install`: of these two only one may be there.
local base = id:match('^(.+)%-install$')
for _, other in ipairs({id .. '-install', base}) do
  if redis.call('EXISTS', K.container(other)) == 1 then return refuse('confusing', other) end
end
local volume = request.container.volume_id
if redis.call('HGET', K.volume(volume), 'state') ~= 'ready' then return refuse('volume') end

local chosen, bindings = {}, {}

local function usable(member)
  if chosen[member] then return false end
  local port = redis.call('HMGET', K.port(member), 'internal_id', 'in_use', 'node')
  if port[1] ~= '' or port[2] ~= '0' then return false end
  return port[3] == '' or port[3] == request.container.node
end

local function find(wanted)
  if wanted.ip then
    local member = wanted.ip .. '|' .. wanted.port .. '|' .. wanted.protocol
    if redis.call('EXISTS', K.port(member)) == 0 then return nil, 'pool' end
    if usable(member) then return member end
    return nil, 'taken', member
  end
  if wanted.port then
    local addresses = redis.call('SMEMBERS', K.port_addresses(wanted.protocol, wanted.port))
    for _, ip in ipairs(addresses) do
      local member = ip .. '|' .. wanted.port .. '|' .. wanted.protocol
      if usable(member) then return member end
    end
    if #addresses == 0 then return nil, 'pool' end
    return nil, 'taken', addresses[1] .. '|' .. wanted.port .. '|' .. wanted.protocol
  end
  for _, member in ipairs(redis.call('SRANDMEMBER', K.ports_free(wanted.protocol), 64)) do
    if usable(member) then return member end
  end
  for _, member in ipairs(redis.call('SMEMBERS', K.ports_free(wanted.protocol))) do
    if usable(member) then return member end
  end
  return nil, 'none', wanted.protocol
end

for _, wanted in ipairs(request.ports or {}) do
  local member, reason, about = find(wanted)
  if not member then return refuse(reason, about or '') end
  chosen[member] = true
  local port = redis.call('HMGET', K.port(member), 'ip', 'port', 'protocol')
  bindings[#bindings + 1] = {ip = port[1], port = tonumber(port[2]), protocol = port[3],
    container_port = wanted.container_port or tonumber(port[2])}
end

for member in pairs(chosen) do take_port(member, id) end
for name, value in pairs(request.container) do redis.call('HSET', K.container(id), name, value) end
redis.call('HSET', K.container(id), 'ports', #bindings > 0 and cjson.encode(bindings) or '[]')
redis.call('ZADD', K.containers(), 0, id)
redis.call('SADD', K.volume_users(volume), id)
note(id, 'state', {to = request.container.state})
if #bindings > 0 then note(id, 'ports', {ports = bindings}) end
open_job(request.job)
emit(id, request.messages)
return {'ok'}
