-- ARGV: lease in microseconds, then what is held ("channel|id")
redis.call('PEXPIRE', base .. 'held', math.ceil(COUNTS_KEPT / 1000)) -- first, as it needs no memory: then ZADD may too
for i = 2, #ARGV do
    redis.call('ZADD', base .. 'held', 'XX', now + tonumber(ARGV[1]), ARGV[i])
end
return 1
