-- Shared by all scripts of the record store. `K` (key names) is put in front of this file.
-- Requests are one JSON document in ARGV[1]; absent means absent, never null.

local JOB_LIFETIME_SECONDS = 7 * 24 * 3600
local REPLY_LIFETIME_SECONDS = 60
local CALL_LIFETIME_SECONDS = 24 * 3600 -- as long as claim_idempotency keeps a call
local FEED_LENGTH = 512
local HISTORY_LENGTH = 500

-- Append messages to a container's feed and publish them with their feed id: readers subscribe
-- first, then read the feed from their last id, so none is missed and none is seen twice.
local function emit(container, messages)
  for _, message in ipairs(messages or {}) do
    local id = redis.call('XADD', K.feed(container), 'MAXLEN', '~', FEED_LENGTH, '*', 'm', message)
    redis.call('PUBLISH', K.feed(container), id .. ' ' .. message)
  end
end

-- Add to what happened to a container; one that is gone has no history. `data` is a table, or JSON as it is.
local function note(container, event, data)
  if redis.call('EXISTS', K.container(container)) == 0 then return end
  local text = type(data) == 'string' and data or cjson.encode(data)
  redis.call('XADD', K.history(container), 'MAXLEN', '~', HISTORY_LENGTH, '*', 'event', event, 'data', text)
end

local function is_open(job)
  local state = redis.call('HGET', K.job(job), 'state')
  return state == 'queued' or state == 'running'
end

-- End a job: one answer for whoever waits, no longer swept, forgotten after a week.
local function finish_job(job, fields)
  if not is_open(job) then return false end
  local record = redis.call('HMGET', K.job(job), 'node', 'internal_id', 'kind')
  local node = record[1]
  for name, value in pairs(fields) do redis.call('HSET', K.job(job), name, value) end
  redis.call('HDEL', K.job(job), 'waits')
  redis.call('EXPIRE', K.job(job), JOB_LIFETIME_SECONDS)
  redis.call('ZREM', K.jobs_open(node), job)
  redis.call('ZREM', K.deadlines(node), job)
  redis.call('DEL', K.lease(job))
  redis.call('RPUSH', K.reply(job), fields.state)
  redis.call('EXPIRE', K.reply(job), REPLY_LIFETIME_SECONDS)
  if record[2] then
    note(record[2], 'job_ended', {job_id = job, kind = record[3], state = fields.state, error = fields.error})
  end
  return true
end

-- The job that a call under an idempotency key began or joined: told again if the call dies before its answer.
local function tie_job(job, id)
  if not job.idempotency then return end
  local record = K.idempotency(job.idempotency)
  redis.call('HSET', record, 'job_id', id)
  if redis.call('TTL', record) < 0 then redis.call('EXPIRE', record, CALL_LIFETIME_SECONDS) end
end

-- What a script answers that is to do what another try of the very call has done, or was refused: the store may have
-- got an earlier try late, or only now.
local function other_try(job)
  if not job or not job.idempotency then return nil end
  local found = redis.call('HMGET', K.idempotency(job.idempotency), 'job_id', 'answer')
  if found[1] then return {'same', found[1]} end
  if found[2] then return {'refused', 'answered'} end
end

-- Record a new job. A job that waits for an exit has a time for its SIGKILL.
local function open_job(job)
  for name, value in pairs(job) do redis.call('HSET', K.job(job.job_id), name, value) end
  redis.call('ZADD', K.jobs_open(job.node), job.created_at, job.job_id)
  if job.internal_id then
    local jobs = K.container_jobs(job.internal_id)
    redis.call('ZADD', jobs, job.created_at, job.job_id)
    redis.call('ZREMRANGEBYSCORE', jobs, '-inf', job.created_at - JOB_LIFETIME_SECONDS)
    note(job.internal_id, 'job_asked',
      {job_id = job.job_id, kind = job.kind, asked_by = job.asked_by, request_id = job.request_id})
  end
  if job.deadline then redis.call('ZADD', K.deadlines(job.node), job.deadline, job.job_id) end
  tie_job(job, job.job_id)
end

-- Whoever has the container's job now must stop: its guarded writes are refused from here on.
local function supersede(job, at)
  if not job or job == '' or not is_open(job) then return end
  redis.call('HSET', K.job(job), 'cancel', '1')
  local state = redis.call('HGET', K.job(job), 'state')
  if state == 'queued' or redis.call('HGET', K.job(job), 'waits') then
    finish_job(job, {state = 'cancelled', finished_at = at, error = 'Another action took its place.'})
  end
end

-- Work that no other action may interrupt, but a kill, which cancels it, and a deletion.
local UNINTERRUPTED = {['rebind-network'] = true, repair = true}

-- Every refusal says why in its first element; the caller makes the sentence.
local function refuse(...) return {'refused', ...} end
