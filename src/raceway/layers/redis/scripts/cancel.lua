-- ARGV: token. Returns whether it was still waiting for its time.
put_due()
redis.call('HDEL', base .. 'late', ARGV[1])
return redis.call('ZREM', base .. 'later', ARGV[1])
