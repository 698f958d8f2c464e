-- Writes executions that nobody else has written since they were read. ARGV: how many, then for each: id, what tells that it
-- is still as it was read (who has claimed it, or else its revision), when to look at it again, if ever, its text, and, if it
-- has waited or waits, from when on it waits, if so, its place, priority and type, in one; then the parts that were too large
-- for texts: whose, by number, their names, themselves. Answers for each 1, or 0 if somebody was faster.
local fields = 5
local behind = 1 + fields * tonumber(ARGV[1])
redis.call('HLEN', running)
redis.call('ZCARD', sweep)
local ids = {}
for at = 2, behind, fields do ids[#ids + 1] = ARGV[at] end
local starts = redis.call('HMGET', running, unpack(ids))

local answers, texts, stopped, to_sweep, swept, come, gone = {}, {}, {}, {}, {}, {}, {}
for number, id in ipairs(ids) do
  local at = 2 + fields * (number - 1)
  local mark = starts[number] or string.match(redis.call('GETRANGE', records .. id, 0, 20), '^%S*')
  answers[number] = 0
  if mark == ARGV[at + 1] then
    answers[number] = 1
    texts[#texts + 1], texts[#texts + 2] = records .. id, ARGV[at + 3]
    if starts[number] then stopped[#stopped + 1] = id end
    if ARGV[at + 2] ~= '' then
      to_sweep[#to_sweep + 1], to_sweep[#to_sweep + 2] = ARGV[at + 2], id
    else
      swept[#swept + 1] = id
    end
    if ARGV[at + 4] ~= '' then
      local due, place, priority, type_ = string.match(ARGV[at + 4], '^(%d*) (%x+) (-?%d+) (.*)$')
      if due ~= '' then add_to(come, type_, priority, due, place) else add_to(gone, type_, priority, place) end
    end
  end
end
for at = behind + 1, #ARGV, 3 do
  local number = tonumber(ARGV[at])
  if answers[number] == 1 then
    texts[#texts + 1], texts[#texts + 2] = part(ARGV[at + 1], ids[number]), ARGV[at + 2]
  end
end
if #texts > 0 then redis.call('MSET', unpack(texts)) end
for_all('HDEL', running, stopped)
for_all('ZADD', sweep, to_sweep)
for_all('ZREM', sweep, swept)
for _, group in pairs(come) do wait(unpack(group)) end
for _, group in pairs(gone) do wait_no_more(unpack(group)) end
return answers
