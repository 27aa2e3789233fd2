-- A run of a container's process has ended. Invariant: each run ends once, with one entry among the ends and in the
-- history; whoever waited for this end (stop, kill, restart, rebinding) goes on in the same step, a start overtaken by it
-- is over, and the policy's next start is due.
-- Returns {'ok', job} with the job to enqueue again, when a restart or a rebinding goes on; else {'ok', ''}.
local KEPT_ENDS = 20

local request = cjson.decode(ARGV[1])
local id, guard = request.id, request.guard
local record = redis.call('HMGET', K.container(id), 'state', 'job_id', 'container_id', 'ended_run', 'deleting')
local state, job = record[1], record[2]

if not state then return refuse('missing') end
if record[3] ~= guard.engine_id then return refuse('engine_id') end
if state ~= 'starting' and state ~= 'running' and state ~= 'stopping' then return refuse('state', state) end
if record[4] and record[4] >= guard.after_run then return refuse('run') end

local open = job and is_open(job)
local work = open and redis.call('HMGET', K.job(job), 'kind', 'step') or {}
local kind, step = work[1], work[2]
local cancelled = open and redis.call('HGET', K.job(job), 'cancel') == '1'
local rebinds = kind == 'rebind-network' and (step == 'stop' or step == 'waiting')
local goes_on = rebinds or (kind == 'restart' and step ~= 'start')
local killed = cancelled and UNINTERRUPTED[kind]
local asked = killed or goes_on or kind == 'stop' or kind == 'kill' or kind == 'delete'

-- Who or what ended it: the job that asked for it, a limit, the process itself, or nobody knows.
local function cause_of(ending)
  if killed then return 'kill' end
  if asked then return kind end
  if ending.oom_killed then return 'limit' end
  if not ending.exit_code then return 'unknown' end
  return ending.exit_code == 0 and 'end' or 'crash'
end

local function number_of(seconds) return string.format(seconds < 10 and '%.1f' or '%.0f', seconds) end

-- What watchers are told about an end that nobody asked for.
local function sentence_about(ending, crashed, next_step)
  local told = 'Container ended'
  if crashed then
    local details = 'exit code ' .. (ending.exit_code or 'unknown')
    if ending.signal then details = details .. ', ' .. ending.signal end
    if ending.oom_killed then details = details .. ', out of memory' end
    told = 'Container crashed (' .. details .. ') after ' .. number_of(ending.ran_seconds) .. ' s'
  end
  return told .. '; ' .. (next_step or 'it is not started again by itself') .. '.'
end

for name, value in pairs(request.set) do redis.call('HSET', K.container(id), name, value) end
redis.call('HSET', K.container(id), 'state', 'ready')

local ending = request.ending or {}
ending.cause = cause_of(ending)
local crashed = ending.cause == 'crash' or ending.cause == 'limit'
if request.ending then
  redis.call('LPUSH', K.ends(id), cjson.encode(ending))
  redis.call('LTRIM', K.ends(id), 0, KEPT_ENDS - 1)
end
ending.output, ending.recorded_at = nil, nil
note(id, crashed and 'crash' or 'exit', ending)
note(id, 'state', {from = state, to = 'ready'})
if not asked then
  local next_step = plan_restart(id, request.node, request.at, crashed, ending.ran_seconds or 0)
  if crashed or next_step then emit(id, {daemon_message(sentence_about(ending, crashed, next_step))}) end
end
emit(id, request.messages)
if not open then return {'ok', ''} end

if goes_on then
  if not cancelled then
    redis.call('HSET', K.container(id), 'state', 'starting')
    note(id, 'state', {from = 'ready', to = 'starting'})
  end
  redis.call('HDEL', K.job(job), 'waits')
  redis.call('HINCRBY', K.job(job), 'attempt', 1) -- a worker still on its first half may write nothing more
  redis.call('HSET', K.job(job), 'state', 'queued', 'step', rebinds and 'swap' or 'start')
  redis.call('ZREM', K.deadlines(request.node), job)
  redis.call('ZADD', K.jobs_open(request.node), request.at, job)
  if not cancelled then emit(id, request.restart_messages) end
  return {'ok', job}
end
if kind == 'start' or kind == 'stop' or kind == 'kill' or kind == 'restart' then
  finish_job(job, {state = 'done', finished_at = request.at})
end
return {'ok', ''}
