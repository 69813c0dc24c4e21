-- Returns the named channels that are members.
redis.call('ZREMRANGEBYSCORE', base .. 'named', '-inf', now)
return redis.call('ZRANGE', base .. 'named', 0, -1)
