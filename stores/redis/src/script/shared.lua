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

-- What an execution has kept for later attempts: values by their keys, both JSON, and in `len` how many bytes that is.
local function kept(id)
  return part('kept', id)
end

-- Executions that were claimed, and not written since: by their ids, when that was, for how long and for whom.
local running = prefix .. 'claimed'
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

-- Tells one writing of an execution from all others: who has claimed it, if anybody, or else its revision.
local function mark_of(id, start)
  return start or string.match(redis.call('GETRANGE', records .. id, 0, 20), '^%S*')
end

-- All that an execution has kept, as one JSON text. A key of another kind is taken for none.
local function checkpoints(id)
  local all = redis.pcall('HGETALL', kept(id))
  if all.err or #all == 0 then return false end
  local texts = {}
  for at = 1, #all, 2 do
    if all[at] ~= 'len' then texts[#texts + 1] = all[at] .. ':' .. all[at + 1] end
  end
  return '{' .. table.concat(texts, ',') .. '}'
end

-- Adds to checkpoints, keys and values in turn, how many bytes their execution has with them, and answers that.
local function weigh(id, these)
  local len = tonumber(redis.call('HGET', kept(id), 'len') or 0)
  for at = 1, #these, 2 do
    local key, before = these[at], redis.call('HSTRLEN', kept(id), these[at])
    len = len + #these[at + 1] - before
    if before == 0 then len = len + #key end
  end
  these[#these + 1], these[#these + 2] = 'len', whole(len)
  return len
end

-- How many texts are read at once.
local many = 100
-- What no change depends on.
local seen_only = { payload = true, kept = true }

-- Reads executions, as many as fit into so many bytes, at least one. `each` is called with the number, the text, and an
-- answer: who has claimed it, the text, and what was too large for that, of which who only wants to change it gets no more
-- than that takes. If it answers something, no more are read. A key of another kind is taken for none.
local function read(ids, bytes, each, is_to_change)
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
          if not (is_to_change and seen_only[name]) then
            local large
            if name == 'kept' then
              large = checkpoints(ids[number])
            else
              large = redis.call('MGET', part(name, ids[number]))[1]
            end
            bytes = bytes - (large and #large or 0)
            table.insert(answer, large)
          end
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

-- Deletes an execution, and all that it has. Answers 1, 0 if there is none, 2 if it is running.
local function delete(id)
  local text = redis.call('GET', records .. id)
  if not text then return 0 end
  local head = head_of(text)
  if redis.call('HEXISTS', running, id) == 1 or head and head.status == 'running' then return 2 end
  redis.call('ZCARD', sweep)
  if head then
    look(head.type_, head.priority)
    redis.call('ZCARD', created)
    if head.parent ~= '' then redis.call('ZCARD', parts(head.parent)) end
    local is_named = redis.call('HGET', named, head.key) == id

    redis.call('ZREM', created, head.place)
    if head.parent ~= '' then redis.call('ZREM', parts(head.parent), head.place) end
    if is_named then redis.call('HDEL', named, head.key) end
    wait_no_more(head.type_, head.priority, { head.place })
  end
  redis.call('ZREM', sweep, id)
  redis.call('UNLINK', records .. id, kept(id), part('body', id), part('payload', id), part('result', id), part('checkpoints', id))
  return 1
end
