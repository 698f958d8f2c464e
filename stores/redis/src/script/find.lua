-- Reads the execution with an idempotency key. ARGV: the key. Answers its id and texts, or nothing.
local id = redis.call('HGET', key('keys'), ARGV[1])
if not id then return {} end
return { id, texts(id) }
