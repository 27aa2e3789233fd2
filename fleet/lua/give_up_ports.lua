-- A host tells of all containers that it holds, before it brings them back: of their ports, those that the record has
-- given to others of the same host are given up by these. `held` has the containers by name, each with the ports that it
-- has; without ports nobody knows which those are. One that has other ports by now keeps its record, which is brought
-- back next; one that the host does not hold any more has failed. Answers the names of those.
local request = cjson.decode(ARGV[1])

local function has(container, member)
  for _, port in ipairs(container.ports) do if port == member then return true end end
  return false
end

local function lose(id, record)
  end_rebinding(id, false)
  for _, member in ipairs(members_of(record[4])) do
    if redis.call('HGET', K.port(member), 'internal_id') == id then release_port(member) end
  end
  supersede(record[5], request.at)
  forget_restart(id, request.node)
  for name, value in pairs(request.lost) do redis.call('HSET', K.container(id), name, value) end
  note(id, 'ports', '{"ports":[]}')
  note(id, 'state', {from = record[6], to = request.lost.state})
  emit(id, request.messages)
end

local lost = {}
for id, container in pairs(request.held) do
  for _, member in ipairs(container.ports or {}) do
    local holder = redis.call('HGET', K.port(member), 'internal_id')
    local record = holder and holder ~= '' and holder ~= id and redis.call('HMGET', K.container(holder), 'node',
      'volume_id', 'created_at', 'ports', 'job_id', 'state')
    if record and record[1] == request.node then
      local told = request.held[holder]
      if not told then
        lose(holder, record)
        lost[#lost + 1] = holder
      elseif told.ports and not has(told, member) then
        if request.force or (record[2] == told.volume_id and record[3] == told.created_at) then release_port(member) end
      end
    end
  end
end
return lost
