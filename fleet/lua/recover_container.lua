-- A host tells of a container that it holds: record, ports and use of the volume come back together or not at all.
-- A record of the same container (host, volume, time of creation) that speaks of the same engine container stays as it
-- is, but for a spec that was changed since, as after a backup. Of the same container, but another engine container or
-- an install, it is older than the host. A record of another container of that name stays too, unless `force` says
-- otherwise.
local request = cjson.decode(ARGV[1])
local told, id = request.container, request.container.internal_id
local known = redis.call('HMGET', K.container(id), 'node', 'volume_id', 'created_at', 'container_id', 'ports', 'job_id',
  'state')
if known[1] then
  local same = known[1] == told.node and known[2] == told.volume_id and known[3] == told.created_at
  if not same and not request.force then return refuse('other', known[1]) end
  if same and (known[4] or '') == (told.container_id or '') and known[7] ~= 'installing' then
    local revision = redis.call('HGET', K.container(id), 'revision')
    if (tonumber(told.revision) or 0) <= (tonumber(revision) or 0) then return {'ok', 'known'} end
    redis.call('HSET', K.container(id), 'spec', told.spec, 'revision', told.revision)
    if told.started_with then redis.call('HSET', K.container(id), 'started_with', told.started_with) end
    note(id, 'recovered', {state = known[7]})
    return {'ok', 'updated'}
  end
end
if redis.call('HGET', K.volume(told.volume_id), 'state') ~= 'ready' then return refuse('volume', told.volume_id) end
for _, port in ipairs(request.ports) do
  local holder = redis.call('HGET', K.port(port.member), 'internal_id')
  if request.holds_ports and holder and holder ~= '' and holder ~= id then return refuse('taken', port.member, holder) end
  local other = not holder and overlapping(port)
  if other then return refuse('overlap', port.member, other) end
end

if known[1] then
  end_rebinding(id, false)
  for _, member in ipairs(members_of(known[5])) do
    if redis.call('HGET', K.port(member), 'internal_id') == id then release_port(member) end
  end
  redis.call('SREM', K.volume_users(known[2]), id)
  supersede(known[6], request.at)
  redis.call('DEL', K.container(id))
end
for _, port in ipairs(request.ports) do
  if redis.call('EXISTS', K.port(port.member)) == 0 then add_to_pool(port) end
  if request.holds_ports then take_port(port.member, id) end
end
for name, value in pairs(told) do redis.call('HSET', K.container(id), name, value) end
redis.call('ZADD', K.containers(), 0, id)
redis.call('SADD', K.volume_users(told.volume_id), id)
if told.restart_at then redis.call('ZADD', K.restarts(told.node), told.restart_at, id) end
note(id, 'recovered', {state = told.state})
emit(id, request.messages)
return {'ok', known[1] and 'replaced' or 'new'}
