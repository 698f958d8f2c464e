-- Reads executions, as many as fit into one answer, at least one. ARGV: the time, how many bytes are enough, then ids.
-- Answers the time, then the texts of each.
local answers = { whole(time(ARGV[1])) }
local bytes = tonumber(ARGV[2])
for at = 3, #ARGV do
  local read = texts(ARGV[at])
  table.insert(answers, read)
  bytes = bytes - size(read)
  if bytes <= 0 then break end
end
return answers
