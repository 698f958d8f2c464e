-- Takes executions in. ARGV: how many fields each has, then for each: id, type, priority, due, place, key, parent,
-- timeout, body, payload. Answers for each what was there before: its id and texts, or nothing.
redis.call('HLEN', key('keys'))
redis.call('ZCARD', key('created'))
local fields = 10
local is_there = {}
for at = 1, #ARGV, fields do
  look(ARGV[at + 1], ARGV[at + 2])
  is_there[ARGV[at]] = redis.call('HLEN', record(ARGV[at])) > 0
  if ARGV[at + 6] ~= '' then redis.call('ZCARD', key('parts:' .. ARGV[at + 6])) end
end
local answers, created = {}, {}
for at = 1, #ARGV, fields do
  local id, type_, priority, due, place = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local name, parent, timeout, body, payload = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9]
  local existing = name ~= '' and redis.call('HGET', key('keys'), name) or id
  if is_there[existing] == nil then is_there[existing] = redis.call('EXISTS', record(existing)) == 1 end
  if is_there[existing] then
    table.insert(answers, { existing, texts(existing) })
  else
    local new = { 'revision', 1, 'type', type_, 'status', 'pending', 'priority', priority, 'due', due, 'place', place,
      'body', body }
    for field, text in pairs({ key = name, parent = parent, timeout = timeout, payload = payload }) do
      if text ~= '' then
        table.insert(new, field)
        table.insert(new, text)
      end
    end
    redis.call('HSET', record(id), unpack(new))
    is_there[id] = true
    if name ~= '' then redis.call('HSET', key('keys'), name, id) end
    if parent ~= '' then redis.call('ZADD', key('parts:' .. parent), 0, place) end
    table.insert(created, 0)
    table.insert(created, place)
    wait(type_, priority, due, place)
    table.insert(answers, {})
  end
end
if #created > 0 then redis.call('ZADD', key('created'), unpack(created)) end
write_sets()
return answers
