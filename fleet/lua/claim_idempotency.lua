-- One call begins under an idempotency key. Invariant: of all calls with one key at most one is at work, and an
-- answer once kept never changes. A call whose lease has run out died with its process: what it left tells whether
-- the deed was done (its job is tied to the key) or not (all that it does is one script, which would have tied it).
-- `idempotency_keys` has every record of a token by the time of its end, and so many of them at most.
local request = cjson.decode(ARGV[1])
local keys = K.idempotency_keys(request.owner)
local record, lease = K.idempotency(request.name), K.idempotency_lease(request.name)
local found = redis.call('HMGET', record, 'fingerprint', 'answer', 'job_id')

if found[1] and found[1] ~= request.fingerprint then return refuse('other') end
if found[2] then return {'kept', found[2]} end
if redis.call('EXISTS', lease) == 1 then return refuse('running') end
if found[3] then return {'job', found[3]} end
if found[1] and not request.repeatable then return refuse('interrupted') end

if not found[1] then
  redis.call('ZREMRANGEBYSCORE', keys, '-inf', request.at)
  if redis.call('ZCARD', keys) >= request.most then
    local oldest = redis.call('ZRANGE', keys, 0, 0, 'WITHSCORES')
    return refuse('full', string.format('%d', math.ceil(tonumber(oldest[2]) - request.at)))
  end
end
redis.call('ZADD', keys, request.at + request.kept_seconds, request.name)
redis.call('EXPIRE', keys, request.kept_seconds)
redis.call('HSET', record, 'fingerprint', request.fingerprint, 'owner', request.owner)
redis.call('EXPIRE', record, request.kept_seconds)
redis.call('SET', lease, '1', 'EX', request.lease_seconds)
return {'ok', tostring(redis.call('HINCRBY', record, 'number', 1))}
