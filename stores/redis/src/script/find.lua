-- Reads the execution with an idempotency key. ARGV: the key. Answers its id and itself, or nothing.
local id = redis.call('HGET', named, ARGV[1])
if not id then return {} end
local answers = { id }
read({ id }, 0, function(_, _, answer) answers[2] = answer end)
return answers
