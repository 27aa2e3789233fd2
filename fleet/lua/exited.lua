-- A run of a container's process has ended. Invariant: each run ends once; whoever waited for this end
-- (stop, kill, restart) goes on in the same step, and a start overtaken by it is over.
-- Returns {'ok', job} with the job to enqueue again, when a restart goes on; else {'ok', ''}.
local request = cjson.decode(ARGV[1])
local id, guard = request.id, request.guard
local record = redis.call('HMGET', K.container(id), 'state', 'job_id', 'container_id', 'ended_run', 'deleting')
local state, job = record[1], record[2]

if not state then return refuse('missing') end
if record[3] ~= guard.engine_id then return refuse('engine_id') end
if state ~= 'starting' and state ~= 'running' and state ~= 'stopping' then return refuse('state', state) end
if record[4] and record[4] >= guard.after_run then return refuse('run') end

for name, value in pairs(request.set) do redis.call('HSET', K.container(id), name, value) end
redis.call('HSET', K.container(id), 'state', 'ready')
emit(id, request.messages)
if not job or not is_open(job) then return {'ok', ''} end

local kind = redis.call('HGET', K.job(job), 'kind')
if kind == 'restart' and redis.call('HGET', K.job(job), 'step') ~= 'start' then
  redis.call('HSET', K.container(id), 'state', 'starting')
  redis.call('HDEL', K.job(job), 'waits')
  redis.call('HINCRBY', K.job(job), 'attempt', 1) -- a worker still on its first half may write nothing more
  redis.call('HSET', K.job(job), 'state', 'queued', 'step', 'start')
  redis.call('ZREM', K.deadlines(request.node), job)
  redis.call('ZADD', K.jobs_open(request.node), request.at, job)
  emit(id, request.restart_messages)
  return {'ok', job}
end
if kind == 'start' or kind == 'stop' or kind == 'kill' or kind == 'restart' then
  finish_job(job, {state = 'done', finished_at = request.at})
end
return {'ok', ''}
