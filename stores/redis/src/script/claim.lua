-- Begins attempts, as many as fit into one answer. ARGV: the time, how many bytes are enough, how many at most, the length
-- of the lease, the worker, an id or nothing, then types; none are all. Answers 1 if there may be more, then ids and texts;
-- those without are gone.
--
-- What an attempt changes is the business of the program, not of this script: it keeps that, when and for whom the attempt
-- began, and whoever reads the execution applies it.
local now, bytes, limit, lease = time(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local worker, only = ARGV[5], ARGV[6]
local types = {}
for at = 7, #ARGV do table.insert(types, ARGV[at]) end

local function begin(id, timeout, revision)
  local until_ = now + lease
  if timeout then until_ = math.min(until_, now + tonumber(timeout)) end
  local start = whole(now) .. ':' .. whole(lease) .. ':' .. worker
  write(id, { 'status', 'running', 'start', start, 'revision', revision, 'due', '' })
  sweep_at(whole(until_), id)
  return start
end

if only ~= '' then
  local found = redis.call('HMGET', record(only), 'type', 'priority', 'place', 'timeout', 'due', 'revision')
  local is_wanted = #types == 0
  for _, type_ in ipairs(types) do is_wanted = is_wanted or type_ == found[1] end
  if limit == 0 or not is_wanted or not found[5] or tonumber(found[5]) > now then return { 0 } end
  look(found[1], found[2])
  wait_no_more(found[1], found[2], found[3])
  begin(only, found[4], next_revision(found[6]))
  write_sets()
  return { 0, { only, texts(only) } }
end

if #types == 0 then types = redis.call('SMEMBERS', key('types')) end
local due = {}
for _, type_ in ipairs(types) do
  local left = limit
  for _, priority in ipairs(redis.call('ZRANGE', priorities(type_), 0, -1)) do
    if left == 0 then break end
    local first = redis.call('ZRANGE', waiting(type_, priority), '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, left, 'WITHSCORES')
    for at = 1, #first, 2 do
      table.insert(due, {
        type_ = type_, priority = priority, place = first[at], level = tonumber(priority), at = tonumber(first[at + 1]),
      })
    end
    left = left - #first / 2
  end
end
table.sort(due, function(a, b)
  if a.level ~= b.level then return a.level > b.level end
  if a.at ~= b.at then return a.at < b.at end
  return a.place < b.place
end)

local answers = { #due >= limit and 1 or 0 }
local claimed = {}
for number = 1, math.min(limit, #due) do
  local this = due[number]
  look(this.type_, this.priority)
  this.id = string.sub(this.place, 17)
  this.texts = texts(this.id, 'timeout')
  this.timeout = table.remove(this.texts)
  table.insert(claimed, this)
  bytes = bytes - size(this.texts)
  if bytes <= 0 then
    answers[1] = 1
    break
  end
end
for _, this in ipairs(claimed) do
  wait_no_more(this.type_, this.priority, this.place)
  local revision = this.texts[1]
  if revision then
    this.texts[1] = next_revision(revision)
    this.texts[6] = begin(this.id, this.timeout, this.texts[1])
  end
  table.insert(answers, { this.id, this.texts })
end
write_sets()
return answers
