-- Stream store. Append output to consoles, each item exactly once, and publish it; or count what is left out.
-- KEYS, three an item: console stream, console position, mark of a deleted engine container. ARGV: bytes kept of a
-- console at most; then seven an item: channel, source (engine container), position before, position after, data, lines
-- left out instead of it ('' for none), what is lost before it ('' for nothing).
-- Invariant: data and position change together, and only on top of the position the reader started from; so a
-- reader that was replaced, or that repeats itself after a lost answer, adds nothing.
-- Lines left out are counted up until something is written again, or until a call without data and count asks for
-- it: then a notice with their number comes first, with a seq of its own.
-- What a reader still has of a deleted container is dropped: the next container of that name has the same stream.
-- A stream has an end, far away, and its position has none: so a full store may drop output, but not how far it was
-- read, or all of the log would be printed again.
-- The very first message of a console says that it `begins` there: whoever followed an earlier container of this name
-- misses nothing before it.
-- Returns seq, position for each item; seq is '' when nothing was added.
local STREAM_SECONDS = 365 * 86400
local kept_bytes = tonumber(ARGV[1])

local function trimmed(stream, bytes)
  while bytes > kept_bytes do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    redis.call('XDEL', stream, oldest[1])
    bytes = bytes - #oldest[2][2]
  end
  return bytes
end

local function append(stream, state, closed, channel, source, before, after, data, left_out, lost)
  if redis.call('EXISTS', closed) == 1 then return '', after end
  local at = 'at:' .. source
  local known = redis.call('HMGET', state, at, 'left_out', 'seq', 'bytes')
  local position = known[1] or ''
  if position ~= before and position ~= '' then return '', position end
  -- The reader has sent more than this store knows of: it was emptied in between.
  if position == '' and before ~= '' then redis.call('HSET', state, 'torn', '1') end
  local function count_left_out()
    if left_out ~= '' and left_out ~= '0' then redis.call('HINCRBY', state, 'left_out', left_out) end
  end
  local owed = known[2]
  if lost == '' and (left_out ~= '' or (data == '' and not owed)) then
    count_left_out()
    redis.call('HSET', state, at, after)
    return '', after
  end

  local seq = tonumber(known[3] or '0')
  local begins = seq == 0 and before == ''
  if seq == 0 then
    local now = redis.call('TIME')
    seq = now[1] * 1000 + math.floor(now[2] / 1000)
  end
  -- A store that is full may have dropped the stream alone; what it held takes up no history any more.
  local bytes = redis.call('EXISTS', stream) == 1 and tonumber(known[4] or '0') or 0
  local function add(field, value, head)
    seq = seq + 1
    local number = string.format('%d', seq)
    if begins then
      redis.call('XADD', stream, number .. '-0', field, value, 'b', '1')
      head = '^' .. head
    else
      redis.call('XADD', stream, number .. '-0', field, value)
    end
    redis.call('PUBLISH', channel, number .. head .. '\n' .. value)
    bytes, begins = bytes + #value, false
  end
  if owed then
    add('n', owed, '+')
    redis.call('HDEL', state, 'left_out')
  end
  if lost ~= '' then add('l', lost, '!') end
  count_left_out()
  if data ~= '' then add('d', data, '') end
  redis.call('EXPIRE', stream, STREAM_SECONDS)
  local newest = string.format('%d', seq)
  redis.call('HSET', state, at, after, 'seq', newest, 'bytes', trimmed(stream, bytes))
  return newest, after
end

local answers = {}
for item = 0, #KEYS / 3 - 1 do
  local key, value = item * 3, item * 7 + 1
  local seq, position = append(
    KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
    ARGV[value + 1], ARGV[value + 2], ARGV[value + 3], ARGV[value + 4], ARGV[value + 5], ARGV[value + 6],
    ARGV[value + 7]
  )
  answers[#answers + 1] = seq
  answers[#answers + 1] = position
end
return answers
