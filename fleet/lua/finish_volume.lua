-- A volume is ready (again), unless its state is not the one any more in which the caller left it: then its host has taken it over,
-- and its disk goes.
local request = cjson.decode(ARGV[1])
local id = request.volume.volume_id
if redis.call('HGET', K.volume(id), 'state') ~= request.was then return refuse('changed') end
for name, value in pairs(request.volume) do redis.call('HSET', K.volume(id), name, value) end
redis.call('ZREM', K.volumes_unfinished(request.volume.node), id)
return {'ok'}
