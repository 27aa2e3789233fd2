-- Stream store. Append output to a container's console exactly once and publish it, or count what is left out.
-- KEYS: console stream, console position, mark of a deleted engine container. ARGV: channel, source (engine container), position before, position
-- after, bytes kept at most, data, lines left out instead of it ('' for none), what is lost before it ('' for nothing).
-- Invariant: data and position change together, and only on top of the position the reader started from; so a
-- reader that was replaced, or that repeats itself after a lost answer, adds nothing.
-- Lines left out are counted up until something is written again, or until a call without data and count asks for
-- it: then a notice with their number comes first, with a seq of its own.
-- What a reader still has of a deleted container is dropped: the next container of that name has the same stream.
-- Returns {seq, position}; seq is '' when nothing was added.
if redis.call('EXISTS', KEYS[3]) == 1 then return {'', ARGV[4]} end
local source = 'at:' .. ARGV[2]
local position = redis.call('HGET', KEYS[2], source) or ''
if position ~= ARGV[3] and position ~= '' then return {'', position} end
-- The reader has sent more than this store knows of: it was emptied in between.
if position == '' and ARGV[3] ~= '' then redis.call('HSET', KEYS[2], 'torn', '1') end
redis.call('HSET', KEYS[2], source, ARGV[4])
local function count_left_out()
  if ARGV[7] ~= '' and ARGV[7] ~= '0' then redis.call('HINCRBY', KEYS[2], 'left_out', ARGV[7]) end
end
local left_out = redis.call('HGET', KEYS[2], 'left_out')
if ARGV[8] == '' and (ARGV[7] ~= '' or (ARGV[6] == '' and not left_out)) then
  count_left_out()
  return {'', ARGV[4]}
end

local seq = tonumber(redis.call('HGET', KEYS[2], 'seq') or '0')
if seq == 0 then
  local now = redis.call('TIME')
  seq = now[1] * 1000 + math.floor(now[2] / 1000)
end
local bytes = tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
local function add(field, value, head)
  seq = seq + 1
  local number = string.format('%d', seq)
  redis.call('XADD', KEYS[1], number .. '-0', field, value)
  redis.call('PUBLISH', ARGV[1], number .. head .. '\n' .. value)
  bytes = bytes + #value
end
if left_out then
  add('n', left_out, '+')
  redis.call('HDEL', KEYS[2], 'left_out')
end
if ARGV[8] ~= '' then add('l', ARGV[8], '!') end
count_left_out()
if ARGV[6] ~= '' then add('d', ARGV[6], '') end
while bytes > tonumber(ARGV[5]) do
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not oldest then break end
  redis.call('XDEL', KEYS[1], oldest[1])
  bytes = bytes - #oldest[2][2]
end
redis.call('HSET', KEYS[2], 'seq', string.format('%d', seq), 'bytes', bytes)
return {string.format('%d', seq), ARGV[4]}
