-- Makes an empty namespace one of this version. ARGV: the version. Answers the version that there is.
local version = redis.call('GET', prefix .. 'version')
if version then return version end
redis.call('SET', prefix .. 'version', ARGV[1])
return ARGV[1]
