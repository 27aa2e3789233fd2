-- Step, progress and journal of a job; refused to a worker whose attempt is not the latest.
-- Returns {'ok', '1'} when somebody asked for the job to be cancelled.
local request = cjson.decode(ARGV[1])
local job = request.job_id
if not is_open(job) then return refuse('ended') end
if redis.call('HGET', K.job(job), 'attempt') ~= request.attempt then return refuse('attempt') end
for name, value in pairs(request.set or {}) do redis.call('HSET', K.job(job), name, value) end
if request.container then emit(request.container, request.messages) end
-- A job on a volume is watched by those who watch the containers on it.
for _, container in ipairs(request.volume and redis.call('SMEMBERS', K.volume_users(request.volume)) or {}) do
  emit(container, request.messages)
end
if request.finish then finish_job(job, request.finish) end
return {'ok', redis.call('HGET', K.job(job), 'cancel') or ''}
