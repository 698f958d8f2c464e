-- Deletes an execution. ARGV: the id, and what tells that it is still as it was read, or nothing for however it is. Answers 1,
-- 0 if there is none, or another, 2 if it is running.
local id = ARGV[1]
local text = redis.call('GET', records .. id)
if not text or ARGV[2] ~= '' and ARGV[2] ~= string.match(text, '^%S*') then return 0 end
local head = head_of(text)
if redis.call('HEXISTS', running, id) == 1 or head and head.status == 'running' then return 2 end
redis.call('ZCARD', sweep)
if head then
  look(head.type_, head.priority)
  redis.call('ZCARD', created)
  if head.parent ~= '' then redis.call('ZCARD', parts(head.parent)) end
  local is_named = redis.call('HGET', named, head.key) == id

  redis.call('ZREM', created, head.place)
  if head.parent ~= '' then redis.call('ZREM', parts(head.parent), head.place) end
  if is_named then redis.call('HDEL', named, head.key) end
  wait_no_more(head.type_, head.priority, { head.place })
end
redis.call('ZREM', sweep, id)
redis.call('DEL', records .. id, part('body', id), part('payload', id), part('result', id), part('checkpoints', id))
return 1
