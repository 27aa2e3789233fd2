-- A volume that nobody uses and no job works on is marked before its disk goes, so that no container can be put on it meanwhile:
-- `deleting` by the API, `removing` by its host, when the API does not finish what it began. Without a mark its record goes.
local request = cjson.decode(ARGV[1])
local id = request.volume_id
local volume = redis.call('HMGET', K.volume(id), 'state', 'node')
local state, node = volume[1], volume[2]
if not state then return refuse('missing') end
if request.mark == 'removing' and state == 'ready' then return refuse('ready') end
if request.mark == 'deleting' and state == 'removing' then return refuse('missing') end
if redis.call('SCARD', K.volume_users(id)) > 0 then
  return refuse('used', redis.call('SMEMBERS', K.volume_users(id))[1])
end
local job = redis.call('GET', K.volume_job(id))
if job and is_open(job) then return refuse('busy', job) end
if request.mark then
  redis.call('HSET', K.volume(id), 'state', request.mark, 'updated_at', request.at)
  -- What cannot be removed stays as old as it is, for whoever asks what was left long ago.
  if request.mark == 'deleting' then redis.call('ZADD', K.volumes_unfinished(node), request.at, id) end
else
  redis.call('DEL', K.volume(id), K.volume_users(id), K.volume_job(id))
  redis.call('ZREM', K.volumes(), id)
  redis.call('ZREM', K.volumes_unfinished(node), id)
end
return {'ok'}
