-- Takes executions in. ARGV: how many bytes are enough, how many executions, then for each: id, type, priority, due, place,
-- key, parent, its text; then the parts that were too large for texts: whose, by number, their names, themselves. Answers for
-- each what was there before, or nothing: its id, and itself unless others before it were enough.
local fields = 8
local left, behind = tonumber(ARGV[1]), 2 + fields * tonumber(ARGV[2])
redis.call('HLEN', named)
redis.call('ZCARD', created)
local keys, has_names = {}, false
for at = 3, behind, fields do
  keys[#keys + 1] = records .. ARGV[at]
  look(ARGV[at + 1], ARGV[at + 2])
  has_names = has_names or ARGV[at + 5] ~= ''
  if ARGV[at + 6] ~= '' then redis.call('ZCARD', parts(ARGV[at + 6])) end
end

-- What is there: ids by their keys, and executions by their ids.
local ids, there = {}, {}
if has_names or redis.call('EXISTS', unpack(keys)) > 0 then
  for at = 3, behind, fields do
    local id, name = ARGV[at], ARGV[at + 5]
    if name ~= '' then ids[name] = redis.call('HGET', named, name) or nil end
    id = ids[name] or id
    there[id] = redis.call('STRLEN', records .. id) > 0 or nil
  end
end

local answers, again, texts, places, names, groups = {}, {}, {}, {}, {}, {}
local is_new = {}
local function tell(number, id)
  answers[number] = { id }
  if left <= 0 then return end
  read({ id }, 0, function(_, _, answer)
    answers[number][2] = answer
    for _, text in ipairs(answer) do left = left - (text and #text or 0) end
  end)
end
for at = 3, behind, fields do
  local number, id, name, parent, place = #answers + 1, ARGV[at], ARGV[at + 5], ARGV[at + 6], ARGV[at + 4]
  local existing = ids[name] or id
  answers[number] = {}
  if there[existing] == is_new then
    again[number] = existing
  elseif there[existing] then
    tell(number, existing)
  else
    there[id], is_new[number] = is_new, id
    texts[#texts + 1], texts[#texts + 2] = records .. id, ARGV[at + 7]
    places[#places + 1], places[#places + 2] = '0', place
    add_to(groups, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], place)
    if name ~= '' then
      ids[name] = id
      names[#names + 1], names[#names + 2] = name, id
    end
    if parent ~= '' then redis.call('ZADD', parts(parent), '0', place) end
  end
end
for at = behind + 1, #ARGV, 3 do
  local id = is_new[tonumber(ARGV[at])]
  if id then texts[#texts + 1], texts[#texts + 2] = part(ARGV[at + 1], id), ARGV[at + 2] end
end
if #texts > 0 then redis.call('MSET', unpack(texts)) end
for_all('ZADD', created, places)
for_all('HSET', named, names)
for _, group in pairs(groups) do wait(unpack(group)) end
for number, id in pairs(again) do tell(number, id) end
return answers
