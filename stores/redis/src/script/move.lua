-- Copies some of what version 2 kept in the text of an execution to where it belongs, where nobody sees it before the text says
-- so. ARGV: id, what tells that it is still as it was read, then keys and values in turn. Answers 1, or 0 if somebody was
-- faster.
local id = ARGV[1]
if mark_of(id, redis.call('HGET', running, id)) ~= ARGV[2] then return 0 end
local these = {}
for at = 3, #ARGV do these[at - 2] = ARGV[at] end
weigh(id, these)
redis.call('HSET', kept(id), unpack(these))
return 1
