-- KEYS[1]: the role. ARGV: who lets go of it
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
