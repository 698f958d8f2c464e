-- Reads what a sweep has to look at, as much as fits into one answer. ARGV: the time, how many bytes are enough, how many
-- at most. Answers the time, the next instant, if there is any, at which there is something to do, then ids and executions.
local now = time(ARGV[1])
local next_ = redis.call('ZRANGE', sweep, 0, 0, 'WITHSCORES')
local answers = { whole(now), next_[2] ~= 'inf' and next_[2] or '' }
local ids = redis.call('ZRANGE', sweep, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, ARGV[3])
read(ids, tonumber(ARGV[2]), function(number, _, answer)
  answers[#answers + 1], answers[#answers + 2] = ids[number], answer
end, true)
return answers
