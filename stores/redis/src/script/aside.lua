-- Sets aside what is no execution, so that it keeps nobody from the others. It is still found, and can be deleted.
-- ARGV, for each: id, revision as read.
for at = 1, #ARGV, 2 do
  local id = ARGV[at]
  local found = redis.call('HMGET', record(id), 'revision', 'type', 'priority', 'place', 'due')
  if (found[1] or '') == ARGV[at + 1] then
    local has_place = found[2] and found[3] and found[4]
    if has_place then look(found[2], found[3]) end
    sweep_no_more(id)
    if has_place then wait_no_more(found[2], found[3], found[4]) end
    if found[1] then
      redis.call('HDEL', record(id), 'due')
      redis.call('HSET', record(id), 'status', 'corrupt')
    end
  end
end
write_sets()
return 1
