-- One call begins under an idempotency key. Invariant: of all calls with one key at most one is at work, and an
-- answer once kept never changes. A call whose lease has run out died with its process: what it left tells whether
-- the deed was done (its job is tied to the key) or not (all that it does is one script, which would have tied it).
local request = cjson.decode(ARGV[1])
local record, lease = K.idempotency(request.name), K.idempotency_lease(request.name)
local found = redis.call('HMGET', record, 'fingerprint', 'answer', 'job_id')

if found[1] and found[1] ~= request.fingerprint then return refuse('other') end
if found[2] then return {'kept', found[2]} end
if redis.call('EXISTS', lease) == 1 then return refuse('running') end
if found[3] then return {'job', found[3]} end
if found[1] and not request.repeatable then return refuse('interrupted') end

redis.call('HSET', record, 'fingerprint', request.fingerprint)
redis.call('EXPIRE', record, request.kept_seconds)
redis.call('SET', lease, '1', 'EX', request.lease_seconds)
return {'ok'}
