-- Reads executions, as many as fit into one answer, at least one. ARGV: the time, how many bytes are enough,
-- 'change' if no more is wanted than that takes, then ids. Answers the time, then each.
local answers = { whole(time(ARGV[1])) }
local ids = {}
for at = 4, #ARGV do ids[at - 3] = ARGV[at] end
read(ids, tonumber(ARGV[2]), function(number, text, answer)
  -- Who asks for this one is to know that its key is of another kind.
  if not text then redis.call('GET', records .. ids[number]) end
  answers[number + 1] = answer
end, ARGV[3] == 'change')
return answers
