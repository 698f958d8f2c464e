-- Deletes an execution. ARGV: the id. Answers 1, 0 if there is none, 2 if it is running.
local id = ARGV[1]
local found = redis.call('HMGET', record(id), 'status', 'type', 'priority', 'place', 'key', 'parent')
if found[1] == 'running' then return 2 end
if redis.call('EXISTS', record(id)) == 0 then return 0 end
local type_, priority, place, name, parent = found[2], found[3], found[4], found[5], found[6]
local parts = parent and key('parts:' .. parent)
redis.call('ZCARD', key('created'))
redis.call('ZCARD', key('sweep'))
if type_ and priority then look(type_, priority) end
if parts then redis.call('ZCARD', parts) end
local is_named = name and redis.call('HGET', key('keys'), name) == id

if place then
  redis.call('ZREM', key('created'), place)
  if parts then redis.call('ZREM', parts, place) end
  if type_ and priority then wait_no_more(type_, priority, place) end
end
if is_named then redis.call('HDEL', key('keys'), name) end
sweep_no_more(id)
write_sets()
redis.call('DEL', record(id))
return 1
