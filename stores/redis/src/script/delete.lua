-- Deletes an execution. ARGV: the id, and what tells that it is still as it was read, or nothing for however it is. Answers 1,
-- 0 if there is none, or another, 2 if it is running.
local id, mark = ARGV[1], ARGV[2]
if mark ~= '' and mark ~= string.match(redis.call('GETRANGE', records .. id, 0, 20), '^%S*') then return 0 end
return delete(id)
