-- Makes an empty namespace, or one of version 2, one of this version. ARGV: the version. Answers the version that there is.
local version = redis.call('GET', prefix .. 'version')
if version == '2' then
  -- Programs of that version do not know where checkpoints are. All of their scripts look at `running` before they write,
  -- and fail from now on.
  local before = prefix .. 'running'
  if redis.call('EXISTS', before) == 1 then redis.call('RENAME', before, running) end
  redis.call('SET', before, 'claimed')
  redis.call('SET', prefix .. 'version', ARGV[1])
  return ARGV[1]
end
if version then return version end
-- The server keeps small sets and hashes as lists, in which a batch costs its square. One long entry makes them what they
-- are when they are large, and stays.
local long = string.rep('-', 100)
redis.call('ZADD', sweep, 'inf', long)
redis.call('HSET', running, long, '')
redis.call('SET', prefix .. 'version', ARGV[1])
return ARGV[1]
