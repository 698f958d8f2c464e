-- Sets aside what is no execution, so that it keeps nobody from the others. It is still found, and can be deleted.
-- ARGV, for each: id, then what tells that it is still as it was read: who has claimed it, or else its revision; nothing if
-- it was not there.
redis.call('ZCARD', sweep)
for at = 1, #ARGV, 2 do
  local id = ARGV[at]
  local text = redis.call('MGET', records .. id)[1]
  local mark = text and (redis.call('HGET', running, id) or string.match(text, '^%S*')) or ''
  if mark == ARGV[at + 1] then
    local head = head_of(text)
    if head then
      look(head.type_, head.priority)
      wait_no_more(head.type_, head.priority, { head.place })
      redis.call('SET', records .. id, (string.gsub(text, '^(%d+ %S* %d* )%S+', '%1corrupt', 1)))
    end
    redis.call('HDEL', running, id)
    redis.call('ZREM', sweep, id)
  end
end
return 1
