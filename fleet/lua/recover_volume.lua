-- A host tells of a volume that it holds. One that another host has stays that one's, unless `force` says otherwise.
local request = cjson.decode(ARGV[1])
local id = request.volume.volume_id
local node = redis.call('HGET', K.volume(id), 'node')
if node == request.volume.node then return {'ok', 'known'} end
if node and not request.force then return refuse('other', node) end
for name, value in pairs(request.volume) do redis.call('HSET', K.volume(id), name, value) end
redis.call('ZADD', K.volumes(), 0, id)
if node then redis.call('ZREM', K.volumes_unfinished(node), id) end
return {'ok', node and 'replaced' or 'new'}
