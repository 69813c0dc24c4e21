-- ARGV: channel, how long it is a member in microseconds
local named = base .. 'named'
redis.call('ZADD', named, now + tonumber(ARGV[2]), ARGV[1])
keep(named, now + tonumber(ARGV[2]))
return 1
