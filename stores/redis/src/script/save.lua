-- Writes executions that nobody else has written since they were read. ARGV, for each: id, revision as read, status, due,
-- sweep, body, result, checkpoints. Answers for each 1, or 0 if somebody was faster.
local fields = 8
local found = {}
for at = 1, #ARGV, fields do
  local old = redis.call('HMGET', record(ARGV[at]), 'revision', 'type', 'priority', 'place', 'due')
  if old[1] == ARGV[at + 1] then
    look(old[2], old[3])
    found[at] = old
  end
end
local answers = {}
for at = 1, #ARGV, fields do
  local old = found[at]
  if old then
    local id, due, sweep = ARGV[at], ARGV[at + 3], ARGV[at + 4]
    write(id, { 'revision', next_revision(old[1]), 'status', ARGV[at + 2], 'body', ARGV[at + 5], 'due', due,
      'result', ARGV[at + 6], 'checkpoints', ARGV[at + 7], 'start', '' })
    if due ~= '' then
      wait(old[2], old[3], due, old[4])
    elseif old[5] then
      wait_no_more(old[2], old[3], old[4])
    end
    if sweep ~= '' then
      sweep_at(sweep, id)
    else
      sweep_no_more(id)
    end
  end
  table.insert(answers, old and 1 or 0)
end
write_sets()
return answers
