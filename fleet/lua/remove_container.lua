-- Invariant: record, ports, volume use, feed and history go together, and the job that removed it ends with them.
-- Without a guard it is forgotten whatever is done with it: its jobs end here, on a host that nobody hears from.
local request = cjson.decode(ARGV[1])
local id, guard = request.id, request.guard
local record = redis.call('HMGET', K.container(id), 'volume_id', 'ports', 'job_id', 'node', 'limits_job')
if not record[1] then return refuse('missing') end
if guard then
  if record[3] ~= guard.job or not is_open(guard.job) then return refuse('superseded', record[3] or '') end
  if redis.call('HGET', K.job(guard.job), 'attempt') ~= guard.attempt then return refuse('attempt') end
else
  local ending = {state = 'cancelled', finished_at = request.at, error = 'The container was deleted by force.'}
  for place = 3, 5, 2 do
    if record[place] then finish_job(record[place], ending) end
  end
end

end_rebinding(id, false)
for _, member in ipairs(members_of(record[2])) do
  if redis.call('HGET', K.port(member), 'internal_id') == id then release_port(member) end
end
redis.call('SREM', K.volume_users(record[1]), id)
redis.call('ZREM', K.containers(), id)
redis.call('PUBLISH', K.feed(id), '0-0 {"event":"removed"}')
redis.call('ZREM', K.restarts(record[4]), id)
redis.call('DEL', K.container(id), K.container_jobs(id), K.feed(id), K.install_log(id), K.history(id), K.ends(id))
if guard then finish_job(guard.job, {state = 'done', finished_at = request.at}) end
return {'ok'}
