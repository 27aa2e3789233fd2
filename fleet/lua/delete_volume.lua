-- A volume that nobody uses and no job works on is marked before its disk goes, so that no container can be put on it meanwhile;
-- with `forget` its record goes too.
local request = cjson.decode(ARGV[1])
local id = request.volume_id
local state = redis.call('HGET', K.volume(id), 'state')
if not state then return refuse('missing') end
if redis.call('SCARD', K.volume_users(id)) > 0 then
  return refuse('used', redis.call('SMEMBERS', K.volume_users(id))[1])
end
local job = redis.call('GET', K.volume_job(id))
if job and is_open(job) then return refuse('busy', job) end
if request.forget then
  redis.call('DEL', K.volume(id), K.volume_users(id), K.volume_job(id))
  redis.call('ZREM', K.volumes(), id)
else
  redis.call('HSET', K.volume(id), 'state', 'deleting', 'updated_at', request.at)
end
return {'ok'}
