-- Begins attempts, as many as fit into one answer. ARGV: the time, how many bytes are enough, how many at most, the length
-- of the lease (with a zero before it, they are only reserved, and no time allowed runs), the worker, an id or nothing, then types; none are all. Answers 1 if there may be more, then ids and
-- executions; those without are gone.
--
-- What an attempt changes is the business of the program, not of this script: it keeps that, when and for whom the attempt
-- began, and whoever reads the execution applies it.
local now, bytes, limit, lease = time(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local worker, only = ARGV[5], ARGV[6]
local is_reserved = string.sub(ARGV[4], 1, 1) == '0'
local types = {}
for at = 7, #ARGV do types[at - 6] = ARGV[at] end

-- Those that wait together: type, priority, the places of those to be claimed, and that of which there is no answer.
local groups = {}
-- Those that are due: their places, the groups, since when, how urgently.
local due = {}
if only ~= '' then
  local head = head_of(redis.call('GET', records .. only))
  local is_wanted = #types == 0
  for _, type_ in ipairs(types) do is_wanted = is_wanted or head and type_ == head.type_ end
  local at = head and is_wanted and redis.call('ZSCORE', waiting(head.type_, head.priority), head.place)
  if not at or tonumber(at) > now then return { 0 } end
  look(head.type_, head.priority)
  groups[1] = { head.type_, head.priority, {} }
  due[1] = { head.place, groups[1] }
else
  if #types == 0 then types = redis.call('SMEMBERS', types_that_wait) end
  for _, type_ in ipairs(types) do
    local left = limit
    for _, priority in ipairs(redis.call('ZRANGE', priorities(type_), 0, -1)) do
      if left == 0 then break end
      local set = look(type_, priority)
      local first = redis.call('ZRANGE', set, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, left, 'WITHSCORES')
      local group, urgency = { type_, priority, {} }, tonumber(priority)
      groups[#groups + 1] = group
      for at = 1, #first, 2 do due[#due + 1] = { first[at], group, first[at + 1], urgency } end
      left = left - #first / 2
    end
  end
  -- The server has each group in order, and times in as many digits.
  if #groups > 1 then
    table.sort(due, function(a, b)
      if a[4] ~= b[4] then return a[4] > b[4] end
      if a[3] ~= b[3] then return tonumber(a[3]) < tonumber(b[3]) end
      return a[1] < b[1]
    end)
  end
end

local ids = {}
for number = 1, math.min(limit, #due) do ids[number] = string.sub(due[number][1], 17) end
local from, until_ = ':' .. whole(now) .. ':' .. ARGV[4] .. ':' .. worker, whole(now + lease)
local answers, starts, to_sweep, len = { #due >= limit and only == '' and 1 or 0 }, {}, {}, 0
read(ids, bytes, function(number, text, answer)
  local id = ids[number]
  answers[2 * number], answers[2 * number + 1] = id, answer
  if text then
    local revision, timeout = string.match(text, '^(%d*) ?%S* ?(%d*)')
    local ends = until_
    if timeout ~= '' and not is_reserved and tonumber(timeout) < lease then ends = whole(now + tonumber(timeout)) end
    answer[1] = revision .. from
    starts[len + 1], starts[len + 2] = id, answer[1]
    to_sweep[len + 1], to_sweep[len + 2] = ends, id
    len = len + 2
  end
  local places = due[number][2][3]
  places[#places + 1] = due[number][1]
end)
if (#answers - 1) / 2 < #ids then answers[1] = 1 end
for _, group in ipairs(groups) do
  if #group[3] > 0 then wait_no_more(unpack(group)) end
end
for_all('HSET', running, starts)
for_all('ZADD', sweep, to_sweep)
return answers
