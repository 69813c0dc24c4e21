-- ARGV: lease in microseconds, then what is held ("channel|id")
for i = 2, #ARGV do
    redis.call('ZADD', base .. 'held', 'XX', now + tonumber(ARGV[1]), ARGV[i])
end
keep(base .. 'held', now + COUNTS_KEPT)
return 1
