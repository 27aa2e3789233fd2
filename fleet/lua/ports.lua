-- Shared by all scripts of the record store: the ports that containers hold.
-- Invariant: a port of the pool is held by one container or by none, and stands in `ports_free` exactly while it is
-- neither held nor marked as used.

-- The pool's names of the ports in a container's record.
local function members_of(ports)
  local members = {}
  for _, binding in ipairs(cjson.decode(ports)) do
    members[#members + 1] = binding.ip .. '|' .. string.format('%d', binding.port) .. '|' .. binding.protocol
  end
  return members
end

local function family(ip) return ip:find(':', 1, true) and 6 or 4 end
local function overlap(a, b)
  if family(a) ~= family(b) then return false end
  return a == b or a == '0.0.0.0' or a == '::' or b == '0.0.0.0' or b == '::'
end

-- The address of the pool that has the same port and protocol as this port would take, if there is one.
local function overlapping(port)
  for _, ip in ipairs(redis.call('SMEMBERS', K.port_addresses(port.protocol, port.port))) do
    if overlap(ip, port.ip) then return ip end
  end
end

local function add_to_pool(port)
  local number = string.format('%d', port.port)
  local member = port.ip .. '|' .. number .. '|' .. port.protocol
  redis.call('HSET', K.port(member), 'ip', port.ip, 'port', number, 'protocol', port.protocol,
    'node', port.node or '', 'internal_id', '', 'in_use', '0')
  redis.call('ZADD', K.ports(), 0, member)
  redis.call('SADD', K.ports_free(port.protocol), member)
  redis.call('SADD', K.port_addresses(port.protocol, number), port.ip)
end

local function take_port(member, id)
  redis.call('HSET', K.port(member), 'internal_id', id, 'in_use', '1')
  redis.call('SREM', K.ports_free(redis.call('HGET', K.port(member), 'protocol')), member)
end

local function release_port(member)
  redis.call('HSET', K.port(member), 'internal_id', '', 'in_use', '0')
  redis.call('SADD', K.ports_free(redis.call('HGET', K.port(member), 'protocol')), member)
end

local function encode_ports(bindings) return #bindings > 0 and cjson.encode(bindings) or '[]' end

-- Bindings for what a container on `node` asks for: ports that are free, or that it holds already. Answers nil, the
-- reason and what it is about when one cannot be had.
local function choose_ports(wishes, node, id)
  local chosen, bindings = {}, {}

  local function usable(member)
    if chosen[member] then return false end
    local port = redis.call('HMGET', K.port(member), 'internal_id', 'in_use', 'node')
    if port[1] == id then return true end
    if port[1] ~= '' or port[2] ~= '0' then return false end
    return port[3] == '' or port[3] == node
  end

  local function named(wanted)
    local addresses = wanted.ip and {wanted.ip} or redis.call('SMEMBERS', K.port_addresses(wanted.protocol, wanted.port))
    local known
    for _, ip in ipairs(addresses) do
      local member = ip .. '|' .. wanted.port .. '|' .. wanted.protocol
      if redis.call('EXISTS', K.port(member)) == 1 then
        if usable(member) then return member end
        known = member
      end
    end
    if not known then return nil, 'pool' end
    return nil, chosen[known] and 'twice' or 'taken', known
  end

  local function any(wanted)
    for _, member in ipairs(redis.call('SRANDMEMBER', K.ports_free(wanted.protocol), 64)) do
      if usable(member) then return member end
    end
    for _, member in ipairs(redis.call('SMEMBERS', K.ports_free(wanted.protocol))) do
      if usable(member) then return member end
    end
    -- None is left but those that a rebinding is about to give back.
    for _, member in ipairs(members_of(redis.call('HGET', K.container(id), 'ports') or '[]')) do
      if redis.call('HGET', K.port(member), 'protocol') == wanted.protocol and usable(member) then return member end
    end
    return nil, 'none', wanted.protocol
  end

  -- Those with a number come first, so that no wish for any port takes them away.
  for _, with_number in ipairs({true, false}) do
    for place, wanted in ipairs(wishes) do
      if (wanted.port ~= nil) == with_number then
        local member, reason, about = (with_number and named or any)(wanted)
        if not member then return nil, reason, about end
        chosen[member] = true
        local port = redis.call('HMGET', K.port(member), 'ip', 'port', 'protocol')
        bindings[place] = {ip = port[1], port = tonumber(port[2]), protocol = port[3],
          container_port = wanted.container_port or tonumber(port[2])}
      end
    end
  end
  return bindings
end

local function take_ports(bindings, id)
  for _, member in ipairs(members_of(encode_ports(bindings))) do take_port(member, id) end
end

-- Give back those ports of `given` that are not in `kept`; both as a record has them.
local function release_except(given, kept, id)
  local keeps = {}
  for _, member in ipairs(members_of(kept)) do keeps[member] = true end
  for _, member in ipairs(members_of(given)) do
    if not keeps[member] and redis.call('HGET', K.port(member), 'internal_id') == id then release_port(member) end
  end
end

-- While a rebinding is under way its container holds both bindings. At its end the new one takes the place of the old
-- one (`bound`), or is given up.
local function end_rebinding(id, bound)
  local ports = redis.call('HMGET', K.container(id), 'ports', 'next_ports')
  if not ports[2] then return end
  if bound then
    release_except(ports[1], ports[2], id)
    redis.call('HSET', K.container(id), 'ports', ports[2])
  else
    release_except(ports[2], ports[1], id)
  end
  redis.call('HDEL', K.container(id), 'next_ports')
end
