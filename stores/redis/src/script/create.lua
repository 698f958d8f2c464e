-- Takes executions in. ARGV: how many fields each has, then for each: id, type, priority, due, place, key, parent,
-- timeout, body, payload. Answers for each what was there before: its id and texts, or nothing.
redis.call('HLEN', key('keys'))
redis.call('ZCARD', key('created'))
local fields = 10
for at = 1, #ARGV, fields do
  look(ARGV[at + 1], ARGV[at + 2])
  redis.call('HLEN', record(ARGV[at]))
  if ARGV[at + 6] ~= '' then redis.call('ZCARD', key('parts:' .. ARGV[at + 6])) end
end
local answers = {}
for at = 1, #ARGV, fields do
  local id, type_, priority, due, place = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local name, parent, timeout, body, payload = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9]
  local existing = name ~= '' and redis.call('HGET', key('keys'), name) or id
  if redis.call('EXISTS', record(existing)) == 1 then
    table.insert(answers, { existing, texts(existing) })
  else
    redis.call('HSET', record(id), 'revision', 1, 'type', type_, 'status', 'pending', 'priority', priority, 'due', due,
      'place', place, 'body', body)
    set_or_clear(id, 'key', name)
    set_or_clear(id, 'parent', parent)
    set_or_clear(id, 'timeout', timeout)
    set_or_clear(id, 'payload', payload)
    if name ~= '' then redis.call('HSET', key('keys'), name, id) end
    if parent ~= '' then redis.call('ZADD', key('parts:' .. parent), 0, place) end
    redis.call('ZADD', key('created'), 0, place)
    wait(type_, priority, due, place)
    table.insert(answers, {})
  end
end
return answers
