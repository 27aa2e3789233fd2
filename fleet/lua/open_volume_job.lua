-- Record a new job on a volume. Invariant: a volume has at most one open job, and none unless it is ready; so it
-- cannot be deleted under one.
local request = cjson.decode(ARGV[1])
local volume = request.job.volume_id
local other = other_try(request.job)
if other then return other end
if redis.call('HGET', K.volume(volume), 'state') ~= 'ready' then return refuse('missing') end
local current = redis.call('GET', K.volume_job(volume))
if current and is_open(current) then return refuse('busy', current) end
open_job(request.job)
redis.call('SET', K.volume_job(volume), request.job.job_id)
return {'ok'}
