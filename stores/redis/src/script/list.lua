-- Reads executions in the order of their creation, as many as fit into one answer. ARGV: the parent or nothing, the ends
-- of the range, 'REV' or nothing, how many are wanted, how many may be looked at, how many bytes are enough, the first and
-- the last id or nothing, how many statuses, the statuses, the types. Answers the place that was come to, if there may be more behind it, then places
-- and executions.
local set = ARGV[1] == '' and created or parts(ARGV[1])
local wanted, looks, bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local statuses, types = {}, {}
for at = 11, #ARGV do
  if at < 11 + tonumber(ARGV[10]) then statuses[ARGV[at]] = true else types[ARGV[at]] = true end
end
local places
if ARGV[4] == 'REV' then
  places = redis.call('ZRANGE', set, ARGV[3], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, looks)
else
  places = redis.call('ZRANGE', set, ARGV[2], ARGV[3], 'BYLEX', 'LIMIT', 0, looks)
end
local looked, last = #places, places[#places]
local ids = {}
for number, place in ipairs(places) do ids[number] = string.sub(place, 17) end
if ARGV[8] ~= '' then
  local all = places
  places, ids = {}, {}
  for _, place in ipairs(all) do
    local id = string.sub(place, 17)
    if id >= ARGV[8] and id <= ARGV[9] then places[#places + 1], ids[#ids + 1] = place, id end
  end
end
local is_any = not next(statuses) and not next(types)
local answers, come_to = { '' }, 0
read(ids, bytes, function(number, text, answer)
  come_to = number
  if not text then return end
  local head = not is_any and head_of(text)
  local status = answer[1] and 'running' or head and head.status
  if is_any or head and (not next(statuses) or statuses[status]) and (not next(types) or types[head.type_]) then
    answers[#answers + 1], answers[#answers + 2] = places[number], answer
    wanted = wanted - 1
  end
  return wanted == 0
end)
if wanted > 0 then
  if come_to < #ids then answers[1] = places[come_to] elseif looked == looks then answers[1] = last end
end
return answers
