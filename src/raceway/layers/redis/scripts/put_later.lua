-- ARGV: channel, payload, expiry and delay in microseconds, token, PUBLISH or SPUBLISH, topic of wake-ups
local later, late = base .. 'later', base .. 'late'
local due_at = now + tonumber(ARGV[4])
redis.call('ZADD', later, due_at, ARGV[5])
redis.call('HSET', late, ARGV[5], struct.pack('>dB', tonumber(ARGV[3]), #ARGV[1]) .. ARGV[1] .. ARGV[2])
keep(later, due_at + tonumber(ARGV[3]))
keep(late, due_at + tonumber(ARGV[3]))
redis.call(ARGV[6], ARGV[7], '')
return 1
