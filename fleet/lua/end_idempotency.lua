-- A call under an idempotency key has its answer. One that says "try again" is not kept, unless a job was begun
-- all the same: then the next call is answered with that job. Of a call `in_doubt` nobody knows whether it was done.
local request = cjson.decode(ARGV[1])
local record = K.idempotency(request.name)
-- The store may have got this late: the end of one call says nothing of the next.
if redis.call('HGET', record, 'number') ~= request.number then return refuse('number') end
redis.call('DEL', K.idempotency_lease(request.name))
if request.answer then redis.call('HSETNX', record, 'answer', request.answer)
elseif not request.in_doubt and redis.call('HEXISTS', record, 'job_id') == 0 then
  local owner = redis.call('HGET', record, 'owner')
  if owner then redis.call('ZREM', K.idempotency_keys(owner), request.name) end
  redis.call('DEL', record)
end
return {'ok'}
