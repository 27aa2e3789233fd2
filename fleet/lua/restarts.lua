-- Shared by all scripts of the record store: starting again by policy.
-- Invariant: a container stands in its node's `restarts` exactly while its record has a `restart_at`, and it has that
-- only while it is `ready`. `restarts` of the record counts the starts by policy since a client's action or a good run.

local FIRST_DELAY_SECONDS = 1
local LONGEST_DELAY_SECONDS = 300
local GOOD_RUN_SECONDS = 300

local BY_POLICY = 'policy' -- who asked for a job that nobody asked for

-- Actions with which a client takes the matter into its own hands.
local DECIDES = {start = true, stop = true, kill = true, restart = true, reinstall = true, delete = true}

local function daemon_message(sentence) return cjson.encode({event = 'daemon_message', data = sentence}) end

-- Nothing is to be started any more; whether something was.
local function forget_restart(id, node)
  redis.call('ZREM', K.restarts(node), id)
  return redis.call('HDEL', K.container(id), 'restart_at') == 1
end

-- An end that nobody asked for: note when the next start is due, if the policy wants one.
-- Returns what happens next as half a sentence; nil where there is no policy for such an end.
local function plan_restart(id, node, at, crashed, ran_seconds)
  local record = redis.call('HMGET', K.container(id), 'spec', 'restarts', 'deleting')
  if record[3] == '1' then return nil end
  local spec = cjson.decode(record[1])
  local policy, most = spec.restart_policy or 'no', tonumber(spec.restart_tries)
  if policy == 'no' or (policy == 'on-crash' and not crashed) then return nil end
  local tries = tonumber(record[2]) or 0
  if ran_seconds >= GOOD_RUN_SECONDS then tries = 0 end
  if most and tries >= most then
    note(id, 'restart_given_up', {tries = tries})
    return string.format('it was started again %d times and stays off now', tries)
  end
  local delay = math.min(FIRST_DELAY_SECONDS * 2 ^ tries, LONGEST_DELAY_SECONDS)
  redis.call('HSET', K.container(id), 'restarts', tries + 1, 'restart_at', at + delay)
  redis.call('ZADD', K.restarts(node), at + delay, id)
  note(id, 'restart_due', {restart_at = at + delay, try = tries + 1})
  return string.format('it starts again in %d s (try %d%s)', delay, tries + 1, most and ' of ' .. most or '')
end
