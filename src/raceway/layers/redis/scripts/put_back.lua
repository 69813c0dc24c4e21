-- ARGV: channel, entry, what held it or "", PUBLISH or SPUBLISH, topic of wake-ups
if ARGV[3] ~= '' then
    redis.call('ZREM', base .. 'held', ARGV[1] .. '|' .. ARGV[3])
end
local expires_at = struct.unpack('>d', ARGV[2])
if expires_at <= now then
    return 0
end
local waits = drop_expired(ARGV[1])
local queue = base .. 'q:' .. ARGV[1]
redis.call('LPUSH', queue, ARGV[2])
keep(queue, expires_at)
note_waiting(ARGV[1], expires_at)
if not waits then
    redis.call(ARGV[4], ARGV[5], '')
end
return 1
