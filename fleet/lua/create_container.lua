-- Invariant: a container's record, its hold on each port, its use of the volume, its job and its first
-- event come into being together or not at all.
local request = cjson.decode(ARGV[1])
local id = request.container.internal_id

local other = other_try(request.job)
if other then return other end
if redis.call('EXISTS', K.container(id)) == 1 then return refuse('exists') end
-- The engine calls the install of `x` what it calls the server of `x-install`: of these two only one may be there.
local base = id:match('^(.+)%-install$')
for _, other in ipairs({id .. '-install', base}) do
  if redis.call('EXISTS', K.container(other)) == 1 then return refuse('confusing', other) end
end
local volume = request.container.volume_id
if redis.call('HGET', K.volume(volume), 'state') ~= 'ready' then return refuse('volume') end

local bindings, reason, about = choose_ports(request.ports or {}, request.container.node, id)
if not bindings then return refuse(reason, about or '') end

take_ports(bindings, id)
for name, value in pairs(request.container) do redis.call('HSET', K.container(id), name, value) end
redis.call('HSET', K.container(id), 'ports', encode_ports(bindings))
redis.call('ZADD', K.containers(), 0, id)
redis.call('SADD', K.volume_users(volume), id)
note(id, 'state', {to = request.container.state})
if #bindings > 0 then note(id, 'ports', {ports = bindings}) end
open_job(request.job)
emit(id, request.messages)
return {'ok'}
