-- ARGV: lease in microseconds, then what is held ("channel|id")
for i = 2, #ARGV do
    redis.call('ZADD', base .. 'held', 'XX', now + tonumber(ARGV[1]), ARGV[i])
end
return 1
