-- ARGV: channel
-- Returns how many were put, found it full, and were lost; how many wait; how long the oldest has waited, and how long
-- ago the channel was first used, in microseconds.
count_lost()
put_due()
local oldest, age = drop_expired(ARGV[1]), 0
if oldest then
    local _, put_at = struct.unpack('>dd', oldest)
    age = now - put_at
end
local counts = redis.call('HMGET', base .. 'c:' .. ARGV[1], 'put', 'full', 'lost', 'since')
return {
    tonumber(counts[1] or 0),
    tonumber(counts[2] or 0),
    tonumber(counts[3] or 0),
    redis.call('LLEN', base .. 'q:' .. ARGV[1]),
    age,
    now - tonumber(counts[4] or now),
}
