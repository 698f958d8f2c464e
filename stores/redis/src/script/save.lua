-- Writes executions that nobody else has written since they were read. ARGV: how many bytes one may keep, how many, then for
-- each: id, what tells that it is still as it was read (who has claimed it, or else its revision), when to look at it again,
-- if ever, its text, and, if it has waited or waits, from when on it waits, if so, its place, priority and type, in one; then
-- what is beside the texts: whose, by number, its name, itself. That are checkpoints, whose names are JSON, and parts that
-- were too large; nothing is one that is to go. Answers for each 1, or 0 if somebody was faster; or, having written nothing,
-- one number: how many bytes of checkpoints one would have.
local fields = 5
local behind = 2 + fields * tonumber(ARGV[2])
redis.call('HLEN', running)
redis.call('ZCARD', sweep)
local ids = {}
for at = 3, behind, fields do ids[#ids + 1] = ARGV[at] end
local starts = redis.call('HMGET', running, unpack(ids))

local answers, texts, stopped, to_sweep, swept, come, gone = {}, {}, {}, {}, {}, {}, {}
for number, id in ipairs(ids) do
  local at = 3 + fields * (number - 1)
  answers[number] = 0
  if mark_of(id, starts[number]) == ARGV[at + 1] then
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
local checkpoints_of, old = {}, {}
for at = behind + 1, #ARGV, 3 do
  local number, name, text = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  if answers[number] == 1 then
    if string.sub(name, 1, 1) == '"' then
      local these = checkpoints_of[number] or {}
      checkpoints_of[number] = these
      these[#these + 1], these[#these + 2] = name, text
    elseif text == '' then
      old[#old + 1] = part(name, ids[number])
    else
      texts[#texts + 1], texts[#texts + 2] = part(name, ids[number]), text
    end
  end
end
for number, these in pairs(checkpoints_of) do
  local len = weigh(ids[number], these)
  if len > tonumber(ARGV[1]) then return len end
end
for number, these in pairs(checkpoints_of) do redis.call('HSET', kept(ids[number]), unpack(these)) end
if #texts > 0 then redis.call('MSET', unpack(texts)) end
if #old > 0 then redis.call('UNLINK', unpack(old)) end
for_all('HDEL', running, stopped)
for_all('ZADD', sweep, to_sweep)
for_all('ZREM', sweep, swept)
for _, group in pairs(come) do wait(unpack(group)) end
for _, group in pairs(gone) do wait_no_more(unpack(group)) end
return answers
