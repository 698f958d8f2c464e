-- Reads what a sweep has to look at, as much as fits into one answer. ARGV: the time, how many bytes are enough, how many
-- at most. Answers the time, the next instant, if there is any, at which there is something to do, then ids and texts.
local now, bytes = time(ARGV[1]), tonumber(ARGV[2])
local next_ = redis.call('ZRANGE', key('sweep'), 0, 0, 'WITHSCORES')
local answers = { whole(now), next_[2] or '' }
for _, id in ipairs(redis.call('ZRANGE', key('sweep'), '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, ARGV[3])) do
  local read = texts(id)
  table.insert(answers, { id, read })
  bytes = bytes - size(read)
  if bytes <= 0 then break end
end
return answers
