-- Record a job that changes a container's limits, beside whatever else is done with it. Invariant: only the latest
-- wish counts; an earlier one that has not been carried out never will be. The same wish again is the same job.
local request = cjson.decode(ARGV[1])
local id = request.job.internal_id
local record = redis.call('HMGET', K.container(id), 'state', 'deleting', 'limits_job')
local other = other_try(request.job)
if other then return other end
if not record[1] then return refuse('missing') end
if record[2] == '1' then return refuse('deleting') end
if record[1] == 'installing' then return refuse('installing') end
local current = record[3]
if current and is_open(current) and redis.call('HGET', K.job(current), 'arguments') == request.job.arguments then
  tie_job(request.job, current)
  return {'same', current}
end
supersede(current, request.job.created_at)
redis.call('HSET', K.container(id), 'limits_job', request.job.job_id)
open_job(request.job)
redis.call('HSET', K.job(request.job.job_id), 'aside', '1')
return {'ok'}
