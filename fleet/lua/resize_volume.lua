-- A volume's size has changed on its host; a record that is gone does not come back. With `was_mb` only a record that
-- still says so is changed: whoever compared record and host may be overtaken by the next resize.
local request = cjson.decode(ARGV[1])
local volume = K.volume(request.volume_id)
if redis.call('EXISTS', volume) == 0 then return refuse('missing') end
local quota_mb = redis.call('HGET', volume, 'quota_mb')
if request.was_mb and tonumber(quota_mb) ~= request.was_mb then return refuse('changed') end
redis.call('HSET', volume, 'quota_mb', request.quota_mb, 'updated_at', request.at)
return {'ok'}
