#!lua
-- What all scripts share. KEYS[1] is the prefix of all keys, with the hash tag that keeps them on one node of a cluster.
-- Every script looks before it writes: a key of another kind is an error before anything has changed, since what a script
-- has written stays when it fails.
--
-- A call of the server from a script costs more than what it does. So they are few: what is alike for all of a batch is one
-- call; no batch has more than Lua can hand over.

local prefix = KEYS[1] .. ':'

-- An execution is a text: a line of what scripts need to know of it, then what only programs read. A part of it that is
-- too large for that has a key of its own.
local records = prefix .. 'execution:'

local function part(name, id)
  return prefix .. name .. ':' .. id
end

-- Executions that were claimed, and not written since: by their ids, when that was, for how long and for whom.
local running = prefix .. 'running'
-- Those that are to be looked at, by the time.
local sweep = prefix .. 'sweep'
-- All, in the order of their creation.
local created = prefix .. 'created'
-- By their idempotency keys.
local named = prefix .. 'keys'
-- The types of which there are any that wait.
local types_that_wait = prefix .. 'types'

-- The priorities of a type of which there are any that wait, the highest first.
local function priorities(type_)
  return prefix .. 'priorities:' .. type_
end

-- Those of a type and a priority that wait: by the time from which they may be claimed, then by their places.
local function waiting(type_, priority)
  return prefix .. 'waiting:' .. priority .. ':' .. type_
end

-- The parts of an execution that is a whole of several, in the order of their creation.
local function parts(parent)
  return prefix .. 'parts:' .. parent
end

-- Lua would write large numbers with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- Milliseconds since 1970, by the server's clock unless a test gives the time.
local function time(given)
  if given ~= '' then return tonumber(given) end
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- What the first line of an execution says; nothing if it is none.
local function head_of(text)
  local status, priority, place, parent, type_len, key_len, at =
    string.match(text or '', '^%d+ %S* %d* (%S+) (-?%d+) (%x+) (%x*) (%d+) (%d+) [%d ]+\n()')
  if not status then return nil end
  local behind_type = at + tonumber(type_len)
  return {
    status = status, priority = priority, place = place, parent = parent,
    type_ = string.sub(text, at, behind_type - 1),
    key = string.sub(text, behind_type, behind_type + tonumber(key_len) - 1),
  }
end

-- How many texts are read at once.
local many = 100

-- Reads executions, as many as fit into so many bytes, at least one. `each` is called with the number, the text, and an
-- answer: who has claimed it, the text, and what was too large for that. If it answers something, no more are read. A key of
-- another kind is taken for none.
local function read(ids, bytes, each)
  for first = 1, #ids, many do
    local last = math.min(first + many - 1, #ids)
    local keys = {}
    for number = first, last do keys[number - first + 1] = records .. ids[number] end
    local starts = redis.call('HMGET', running, unpack(ids, first, last))
    local texts = redis.call('MGET', unpack(keys))
    for number = first, last do
      local text = texts[number - first + 1]
      local answer = { starts[number - first + 1], text }
      if text then
        bytes = bytes - #text
        for name in string.gmatch(string.match(text, '^%d+ (%S*)') or '', '%a+') do
          local large = redis.call('MGET', part(name, ids[number]))[1]
          bytes = bytes - (large and #large or 0)
          table.insert(answer, large)
        end
      end
      if each(number, text, answer) or bytes <= 0 then return end
    end
  end
end

-- Looks at what a change of an execution of this type and priority may write to. Answers where such wait.
local looked = {}
local function look(type_, priority)
  local set = waiting(type_, priority)
  if not looked[set] then
    redis.call('SCARD', types_that_wait)
    redis.call('ZCARD', sweep)
    redis.call('HLEN', running)
    redis.call('ZCARD', priorities(type_))
    redis.call('ZCARD', set)
    looked[set] = true
  end
  return set
end

-- Collects times and places of executions, or places alone, by their types and priorities.
local function add_to(groups, type_, priority, one, other)
  local set = look(type_, priority)
  local group = groups[set]
  if not group then
    group = { type_, priority, {} }
    groups[set] = group
  end
  local these = group[3]
  these[#these + 1] = one
  these[#these + 1] = other
end

-- Puts executions among those that wait: their times and places, in turn.
local function wait(type_, priority, times_and_places)
  redis.call('ZADD', waiting(type_, priority), unpack(times_and_places))
  redis.call('ZADD', priorities(type_), whole(-tonumber(priority)), priority)
  redis.call('SADD', types_that_wait, type_)
end

-- Takes them out of those that wait.
local function wait_no_more(type_, priority, places)
  local set = waiting(type_, priority)
  redis.call('ZREM', set, unpack(places))
  if redis.call('EXISTS', set) == 0 then
    redis.call('ZREM', priorities(type_), priority)
    if redis.call('EXISTS', priorities(type_)) == 0 then redis.call('SREM', types_that_wait, type_) end
  end
end

-- One command for all of these, if there are any.
local function for_all(command, set, these)
  if #these > 0 then redis.call(command, set, unpack(these)) end
end
