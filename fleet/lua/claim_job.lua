-- A worker that holds the container's file lock takes a job: queued, or left behind by a dead worker.
-- Invariant: each taking has its own attempt number, so an older one can write nothing any more.
local request = cjson.decode(ARGV[1])
local job = request.job_id
if not is_open(job) then return refuse('ended') end
if redis.call('HGET', K.job(job), 'waits') then return refuse('waiting') end
local container = redis.call('HGET', K.job(job), 'internal_id')
local aside, kind = unpack(redis.call('HMGET', K.job(job), 'aside', 'kind'))
local record = container and redis.call('HMGET', K.container(container), 'job_id', 'limits_job') or {}
-- New limits may be meant for an earlier container of this name. Where there is none now, the worker says so.
local outlived = kind == 'resources' and record[1] and record[2] ~= job
local superseded = outlived or not aside and record[1] ~= job
if container and superseded then
  finish_job(job, {state = 'cancelled', finished_at = request.at, error = 'Another action took its place.'})
  return refuse('superseded')
end
local attempt = redis.call('HINCRBY', K.job(job), 'attempt', 1)
redis.call('HSET', K.job(job), 'state', 'running')
redis.call('SET', K.lease(job), request.worker, 'EX', request.lease_seconds)
return {'ok', tostring(attempt)}
