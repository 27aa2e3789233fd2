-- Ask for a job to be stopped. Its worker sees that when it next writes, undoes what it made and ends it. A job on a
-- volume that nobody has begun has nothing to undo and ends here; an install leaves its container to be failed.
local request = cjson.decode(ARGV[1])
local job = request.job_id
local record = redis.call('HMGET', K.job(job), 'state', 'kind', 'volume_id')
if not record[1] then return refuse('missing') end
if not is_open(job) then return refuse('ended', record[1]) end
local allowed = false
for _, kind in ipairs(request.kinds) do allowed = allowed or kind == record[2] end
if not allowed then return refuse('kind', record[2]) end
redis.call('HSET', K.job(job), 'cancel', '1')
if record[1] == 'queued' and record[3] then
  finish_job(job, {state = 'cancelled', finished_at = request.at, error = request.error})
end
return {'ok'}
