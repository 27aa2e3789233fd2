-- A volume's size has changed on its host; a record that is gone does not come back.
local request = cjson.decode(ARGV[1])
local volume = K.volume(request.volume_id)
if redis.call('EXISTS', volume) == 0 then return refuse('missing') end
redis.call('HSET', volume, 'quota_mb', request.quota_mb, 'updated_at', request.at)
return {'ok'}
