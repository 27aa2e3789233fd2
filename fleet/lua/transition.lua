-- The one way a container's record changes. Invariant: state, job, deadline, event and order change
-- together, and only if every guard holds.
--   guard.states      the record's state is one of these
--   guard.revision    the spec has not changed since it was read, and the container is not being deleted
--   guard.job         this job is the container's current one or stands aside, open, at attempt guard.attempt
--   guard.uncancelled nobody has asked for that job to be cancelled
--   guard.ended_job   this job is the container's current one, and it has ended
--   guard.engine_id   the record still speaks of this engine container
--   guard.after_run   no run that started at or after this time (ns, 20 digits) has ended yet
--   guard.restart_due a start by policy is due, and nobody is at work on the container
-- A container that failed holds no port: `free_ports` gives its ports back, `take_ports` takes all of them
-- again or changes nothing. A rebinding takes the ports it wants (`wishes`) beside those it has; at its end
-- `rebound` says which it keeps.
local request = cjson.decode(ARGV[1])
local id, guard = request.id, request.guard
local record = redis.call('HMGET', K.container(id), 'state', 'job_id', 'container_id', 'ended_run', 'deleting',
  'node', 'restart_at')
local state, current, node = record[1], record[2], record[6]

local other = other_try(request.job)
if other then return other end
if not state then return refuse('missing') end
if request.job and record[5] == '1' and request.job.kind ~= 'delete' then return refuse('deleting', current) end
if guard.states then
  local allowed = false
  for _, name in ipairs(guard.states) do allowed = allowed or name == state end
  if request.job and current and is_open(current) and redis.call('HGET', K.job(current), 'kind') == request.job.kind then
    tie_job(request.job, current)
    return {'same', current}
  end
  local killer = request.job and request.job.kind == 'kill' and current and redis.call('HGET', K.job(current), 'killer')
  if killer and is_open(killer) then
    tie_job(request.job, killer)
    return {'same', killer}
  end
  if not allowed then return refuse('state', state) end
end
local doing = request.job and current and is_open(current) and redis.call('HGET', K.job(current), 'kind')
if doing and request.job.kind ~= 'delete' and (UNINTERRUPTED[doing] or UNINTERRUPTED[request.job.kind]) then
  if request.job.kind ~= 'kill' then return refuse('busy', doing, current) end
  -- The job that is cancelled shows what became of the container.
  request.aside, request.set, request.messages = true, nil, nil
  request.job.aside, request.job.waits, request.job.deadline = '1', nil, nil
end
if guard.revision then
  if record[5] == '1' then return refuse('deleting', current or '') end
  if (redis.call('HGET', K.container(id), 'revision') or '0') ~= guard.revision then return refuse('revision') end
end
if guard.job then
  local aside = redis.call('HGET', K.job(guard.job), 'aside')
  if (current ~= guard.job and not aside) or not is_open(guard.job) then return refuse('superseded', current or '') end
  if redis.call('HGET', K.job(guard.job), 'attempt') ~= guard.attempt then return refuse('attempt') end
  if guard.uncancelled and redis.call('HGET', K.job(guard.job), 'cancel') then return refuse('cancelled') end
end
if guard.ended_job and (current ~= guard.ended_job or is_open(current)) then return refuse('superseded', current or '') end
if guard.engine_id and record[3] ~= guard.engine_id then return refuse('engine_id') end
if guard.after_run and record[4] and record[4] >= guard.after_run then return refuse('run') end
if guard.restart_due then
  if not record[7] then
    redis.call('ZREM', K.restarts(request.node or node), id) -- left by a record that was replaced
    return refuse('not_due')
  end
  if current and is_open(current) then return refuse('busy', current) end
end

if request.wishes then
  local bindings, reason, about = choose_ports(request.wishes, request.node, id)
  if not bindings then return refuse(reason, about or '') end
  take_ports(bindings, id)
  redis.call('HSET', K.container(id), 'next_ports', encode_ports(bindings))
end
if request.rebound ~= nil then end_rebinding(id, request.rebound) end
if request.rebound then note(id, 'ports', '{"ports":' .. redis.call('HGET', K.container(id), 'ports') .. '}') end

local members = {}
if request.take_ports or request.free_ports then members = members_of(redis.call('HGET', K.container(id), 'ports')) end
for _, member in ipairs(members) do
  local holder = redis.call('HMGET', K.port(member), 'internal_id', 'in_use')
  if request.take_ports and not holder[1] then return refuse('pool', member) end
  if request.take_ports and holder[1] ~= id and holder[2] ~= '0' then return refuse('taken', member) end
end
for _, member in ipairs(members) do
  if request.take_ports then take_port(member, id)
  elseif redis.call('HGET', K.port(member), 'internal_id') == id then release_port(member) end
end

if request.take_ports or request.free_ports then
  note(id, 'ports', request.take_ports and '{"ports":' .. redis.call('HGET', K.container(id), 'ports') .. '}' or '{"ports":[]}')
end

local set = request.set or {}
for name, value in pairs(set) do redis.call('HSET', K.container(id), name, value) end
local moved = set.state and set.state ~= state
local acted = request.job and request.job.asked_by ~= BY_POLICY and DECIDES[request.job.kind]
if (moved or acted) and forget_restart(id, node) and acted then note(id, 'restart_cancelled', {}) end
if acted then redis.call('HDEL', K.container(id), 'restarts') end
if set.spec then
  redis.call('HINCRBY', K.container(id), 'revision', 1)
  local forgotten = cjson.decode(set.spec).restart_policy == 'no' and forget_restart(id, node)
  if request.changed then note(id, 'changed', {fields = request.changed}) end
  if forgotten then note(id, 'restart_cancelled', {}) end
end
if request.job then
  if not request.aside then
    supersede(current, request.at)
    redis.call('HSET', K.container(id), 'job_id', request.job.job_id)
  elseif current and is_open(current) then
    redis.call('HSET', K.job(current), 'cancel', '1', 'killer', request.job.job_id)
  end
  open_job(request.job)
end
if moved then note(id, 'state', {from = state, to = set.state}) end
if request.order then
  redis.call('RPUSH', K.orders(request.node), request.order)
end
if request.wait then
  redis.call('HSET', K.job(guard.job), 'waits', 'exit', 'step', 'waiting')
  redis.call('ZADD', K.deadlines(request.node), request.wait, guard.job)
  redis.call('DEL', K.lease(guard.job))
end
emit(id, request.messages)
if request.finish and finish_job(request.finish.job_id, request.finish.fields) then
  local asked_by = redis.call('HGET', K.job(request.finish.job_id), 'asked_by')
  if asked_by == BY_POLICY and request.finish.fields.state == 'failed' then
    local next_step = plan_restart(id, node, request.at, true, 0)
    if next_step then emit(id, {daemon_message('The start failed; ' .. next_step .. '.')}) end
  end
end
return {'ok', current or ''}
