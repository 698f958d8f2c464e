-- Deletes an execution. ARGV: the id. Answers 1, 0 if there is none, 2 if it is running.
return delete(ARGV[1])
