#!lua
-- What all scripts share. KEYS[1] is the prefix of all keys, with the hash tag that keeps them on one node of a cluster.
-- Every script looks before it writes: a key of another kind is an error before anything has changed, since what a script
-- has written stays when it fails.

local prefix = KEYS[1]

local function key(name)
  return prefix .. ':' .. name
end

local function record(id)
  return key('execution:' .. id)
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

-- Those of a type and a priority that wait: by the time from which they may be claimed, then by their places.
local function waiting(type_, priority)
  return key('waiting:' .. priority .. ':' .. type_)
end

-- The priorities of a type of which there are any, the highest first.
local function priorities(type_)
  return key('priorities:' .. type_)
end

local looked = {}

local function look(type_, priority)
  local set = waiting(type_, priority)
  if looked[set] then return end
  redis.call('SCARD', key('types'))
  redis.call('ZCARD', key('sweep'))
  redis.call('ZCARD', priorities(type_))
  redis.call('ZCARD', set)
  looked[set] = true
end

-- What changes in the sorted sets: collected, so that it is one command a set for all of a batch. No more than a call may
-- have of, so that Lua can hand it over.
local come, gone, to_sweep, swept = {}, {}, {}, {}

local function collected(sets, type_, priority)
  local set = waiting(type_, priority)
  sets[set] = sets[set] or { type_ = type_, priority = priority }
  return sets[set]
end

local function wait(type_, priority, due, place)
  local set = collected(come, type_, priority)
  table.insert(set, due)
  table.insert(set, place)
end

local function wait_no_more(type_, priority, place)
  table.insert(collected(gone, type_, priority), place)
end

local function sweep_at(at, id)
  table.insert(to_sweep, at)
  table.insert(to_sweep, id)
end

local function sweep_no_more(id)
  table.insert(swept, id)
end

-- The last thing that a script does which has called any of these.
local function write_sets()
  for set, of in pairs(come) do
    redis.call('ZADD', set, unpack(of))
    redis.call('ZADD', priorities(of.type_), whole(-tonumber(of.priority)), of.priority)
    redis.call('SADD', key('types'), of.type_)
  end
  for set, of in pairs(gone) do
    redis.call('ZREM', set, unpack(of))
    if redis.call('EXISTS', set) == 0 then
      redis.call('ZREM', priorities(of.type_), of.priority)
      if redis.call('EXISTS', priorities(of.type_)) == 0 then
        redis.call('SREM', key('types'), of.type_)
      end
    end
  end
  if #to_sweep > 0 then redis.call('ZADD', key('sweep'), unpack(to_sweep)) end
  if #swept > 0 then redis.call('ZREM', key('sweep'), unpack(swept)) end
end

-- A change of an execution: fields that have a text are set, the others are cleared.
local function write(id, fields)
  local set, clear = {}, {}
  for at = 1, #fields, 2 do
    if fields[at + 1] == '' then
      table.insert(clear, fields[at])
    else
      table.insert(set, fields[at])
      table.insert(set, fields[at + 1])
    end
  end
  redis.call('HSET', record(id), unpack(set))
  if #clear > 0 then redis.call('HDEL', record(id), unpack(clear)) end
end

local function next_revision(revision)
  return whole((tonumber(revision) or 0) + 1)
end

-- What an execution is read from, and other fields behind that.
local function texts(id, ...)
  return redis.call('HMGET', record(id), 'revision', 'body', 'payload', 'result', 'checkpoints', 'start', ...)
end

-- How long they are.
local function size(read)
  local bytes = 0
  for at = 2, 5 do bytes = bytes + (read[at] and #read[at] or 0) end
  return bytes
end
