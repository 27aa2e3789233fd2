-- Add ports to the pool, all or none. The wildcard address of a family stands for every single one.
local request = cjson.decode(ARGV[1])

for _, port in ipairs(request.ports) do
  if overlapping(port) then return refuse('exists', port.ip, port.port) end
end
for _, port in ipairs(request.ports) do add_to_pool(port) end
return {'ok'}
