-- A port of the pool is held by who has it in its record, and by nobody else. Changes nothing when the holder is
-- another than it was when somebody looked, or rightly has it.
local request = cjson.decode(ARGV[1])
local member, was = request.member, request.was
local holder = redis.call('HGET', K.port(member), 'internal_id')
if holder ~= was then return refuse('changed') end

local function rightly(id)
  local record = redis.call('HMGET', K.container(id), 'state', 'ports', 'next_ports')
  if not record[1] then return false end
  for part = record[1] == 'failed' and 3 or 2, 3 do
    for _, name in ipairs(members_of(record[part] or '[]')) do
      if name == member then return true end
    end
  end
  return false
end

if was ~= '' and rightly(was) then return refuse('changed') end
if request.holder == '' then
  release_port(member)
elseif rightly(request.holder) then
  take_port(member, request.holder)
else
  return refuse('changed')
end
return {'ok'}
