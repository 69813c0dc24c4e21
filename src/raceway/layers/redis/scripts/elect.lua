-- KEYS[1]: the role. ARGV: who wants to have it, or to keep it, and for how long in milliseconds
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
if holder then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- which a server without memory does too
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
