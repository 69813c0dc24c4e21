-- ARGV: channel, payload, capacity, expiry in microseconds, PUBLISH or SPUBLISH, topic of wake-ups
-- Returns 1, or 0 if the channel is full.
local waits = drop_expired(ARGV[1])
local counts = base .. 'c:' .. ARGV[1]
if redis.call('LLEN', base .. 'q:' .. ARGV[1]) >= tonumber(ARGV[3]) then
    redis.call('HINCRBY', counts, 'full', 1)
    return 0
end
put(ARGV[1], ARGV[2], now + tonumber(ARGV[4]))
if not waits then
    redis.call(ARGV[5], ARGV[6], '')
end
return 1
