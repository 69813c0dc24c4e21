-- What every script begins with. KEYS[1] is what all keys of one tag begin with, such as "asgi:{thumbnails}:":
--   q:<channel>   list     what waits in a channel: entries, the next one first
--   c:<channel>   hash     how many were put, found it full, and were lost; since: when it was first used
--   names         set      for a tag with "!": its channels in which something waits
--   later         sorted   tokens of delayed messages, by when they are due
--   late          hash     their channels, expiries and payloads, by token
--   held          sorted   what is in the hands of processes ("channel|id"), by when their leases run out
--   named         sorted   the named channels that are members of the group, by when they are members no more
-- An entry is two doubles and the payload: when it expires, and when it was put. Times are in microseconds, by the
-- clock of the server.

local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local COUNTS_KEPT = 24 * 60 * 60 * 1000000 -- what is lost is remembered for a day

local function keep(key, until_us)
    local ms = math.ceil((until_us - now) / 1000) + 1000
    if redis.call('PTTL', key) < ms then
        redis.call('PEXPIRE', key, ms)
    end
end

local is_shared = string.find(base, '!}:', 1, true) -- several channels have this tag

local function note_waiting(channel, until_us)
    if is_shared then
        redis.call('SADD', base .. 'names', channel)
        keep(base .. 'names', until_us)
    end
end

-- The first entry of a channel that has not expired.
local function drop_expired(channel)
    local queue = base .. 'q:' .. channel
    while true do
        local entry = redis.call('LINDEX', queue, 0)
        if not entry then
            if is_shared then
                redis.call('SREM', base .. 'names', channel)
            end
            return nil
        end
        if struct.unpack('>d', entry) > now then
            return entry
        end
        redis.call('LPOP', queue)
    end
end

local function put(channel, payload, expires_at)
    local queue, counts = base .. 'q:' .. channel, base .. 'c:' .. channel
    redis.call('RPUSH', queue, struct.pack('>dd', expires_at, now) .. payload)
    keep(queue, expires_at)
    note_waiting(channel, expires_at)
    if redis.call('HINCRBY', counts, 'put', 1) == 1 then
        redis.call('HSET', counts, 'since', now)
    end
    keep(counts, expires_at)
end

-- What is due goes to its channel; returns when the next is due.
local function put_due()
    local later, late = base .. 'later', base .. 'late'
    for _, token in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, 1000)) do
        local due_at = tonumber(redis.call('ZSCORE', later, token))
        local message = redis.call('HGET', late, token)
        redis.call('ZREM', later, token)
        redis.call('HDEL', late, token)
        if message then
            local expiry, length = struct.unpack('>dB', message)
            put(string.sub(message, 10, 9 + length), string.sub(message, 10 + length), due_at + expiry)
        end
    end
    return redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')[2]
end

-- Whose lease has run out has died with a message in its hands: counts those, and returns their channels.
local function count_lost()
    local held, lost = base .. 'held', {}
    for _, hold in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', now, 'LIMIT', 0, 1000)) do
        local channel = string.match(hold, '^[^|]*')
        local counts = base .. 'c:' .. channel
        redis.call('ZREM', held, hold)
        redis.call('HINCRBY', counts, 'lost', 1)
        keep(counts, now + COUNTS_KEPT)
        lost[#lost + 1] = channel
    end
    return lost
end
