-- Count one WebSocket more (`by` 1) or less (-1) of an API process, or only look (0) whether there is room.
-- Invariant: a place is given only while all processes together hold fewer than `most` of each name; the counts of
-- a process live as long as its sign of life, so one that was killed holds no places.
local request = cjson.decode(ARGV[1])
local own = K.sockets(request.process)
if request.by < 0 then
  -- After the end of its sign of life a process counts anew.
  if redis.call('EXISTS', own) == 0 then return refuse('forgotten') end
  for _, name in ipairs(request.names) do
    if redis.call('HINCRBY', own, name, -1) <= 0 then redis.call('HDEL', own, name) end
  end
  return {'ok'}
end

local totals = {}
for _, process in ipairs(redis.call('SMEMBERS', K.socket_processes())) do
  local counts = redis.call('HMGET', K.sockets(process), unpack(request.names))
  if redis.call('EXISTS', K.sockets(process)) == 0 then redis.call('SREM', K.socket_processes(), process) end
  for index, count in ipairs(counts) do totals[index] = (totals[index] or 0) + (tonumber(count or 0) or 0) end
end
for index, name in ipairs(request.names) do
  if (totals[index] or 0) >= request.most[index] then return refuse(name) end
end
if request.by > 0 then
  for _, name in ipairs(request.names) do redis.call('HINCRBY', own, name, 1) end
  redis.call('EXPIRE', own, request.seconds)
  redis.call('SADD', K.socket_processes(), request.process)
end
return {'ok'}
