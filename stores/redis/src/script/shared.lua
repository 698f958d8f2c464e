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

local function look(type_, priority)
  redis.call('SCARD', key('types'))
  redis.call('ZCARD', key('sweep'))
  redis.call('ZCARD', priorities(type_))
  redis.call('ZCARD', waiting(type_, priority))
end

local function wait(type_, priority, due, place)
  local set = waiting(type_, priority)
  redis.call('ZADD', set, due, place)
  if redis.call('ZCARD', set) == 1 then
    redis.call('ZADD', priorities(type_), whole(-tonumber(priority)), priority)
    redis.call('SADD', key('types'), type_)
  end
end

local function wait_no_more(type_, priority, place)
  local set = waiting(type_, priority)
  redis.call('ZREM', set, place)
  if redis.call('EXISTS', set) == 0 then
    redis.call('ZREM', priorities(type_), priority)
    if redis.call('EXISTS', priorities(type_)) == 0 then
      redis.call('SREM', key('types'), type_)
    end
  end
end

-- What an execution is read from.
local function texts(id)
  return redis.call('HMGET', record(id), 'revision', 'body', 'payload', 'result', 'checkpoints', 'start')
end

-- How long they are.
local function size(read)
  local bytes = 0
  for at = 2, 5 do bytes = bytes + (read[at] and #read[at] or 0) end
  return bytes
end

local function set_or_clear(id, field, text)
  if text == '' then
    redis.call('HDEL', record(id), field)
  else
    redis.call('HSET', record(id), field, text)
  end
end
