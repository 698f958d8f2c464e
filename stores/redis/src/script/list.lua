-- Reads executions in the order of their creation, as many as fit into one answer. ARGV: the parent or nothing, the ends
-- of the range, 'REV' or nothing, how many are wanted, how many may be looked at, how many bytes are enough, how many
-- statuses, the statuses, the types. Answers the place that was come to, if there may be more behind it, then ids and texts.
local set = ARGV[1] == '' and key('created') or key('parts:' .. ARGV[1])
local wanted, looks, bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local statuses, types = {}, {}
for at = 9, #ARGV do
  if at < 9 + tonumber(ARGV[8]) then statuses[ARGV[at]] = true else types[ARGV[at]] = true end
end
local places
if ARGV[4] == 'REV' then
  places = redis.call('ZRANGE', set, ARGV[3], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, looks)
else
  places = redis.call('ZRANGE', set, ARGV[2], ARGV[3], 'BYLEX', 'LIMIT', 0, looks)
end
local answers = { '' }
for number, place in ipairs(places) do
  local id = string.sub(place, 17)
  local found = redis.call('HMGET', record(id), 'status', 'type')
  if found[1] and (not next(statuses) or statuses[found[1]]) and (not next(types) or types[found[2]]) then
    local read = texts(id)
    bytes = bytes - size(read)
    table.insert(answers, { id, read })
    wanted = wanted - 1
  end
  if wanted == 0 then return answers end
  if number == looks or bytes <= 0 then
    answers[1] = place
    return answers
  end
end
return answers
