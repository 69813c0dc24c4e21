-- ARGV: channel, or a prefix that ends with "!"; what holds it, or ""; lease in microseconds
-- Returns the channels whose messages were lost, and {channel, entry} or when to look again, in microseconds from now.
local lost = count_lost()
local due_at = put_due()

local function first_of(channels)
    local first, first_channel, first_put_at = nil, nil, nil
    for _, channel in ipairs(channels) do
        local entry = drop_expired(channel)
        if entry then
            local _, put_at = struct.unpack('>dd', entry)
            if not first or put_at < first_put_at then
                first, first_channel, first_put_at = entry, channel, put_at
            end
        end
    end
    return first, first_channel
end

local channels = {ARGV[1]}
if string.sub(ARGV[1], -1) == '!' then
    channels = redis.call('SMEMBERS', base .. 'names')
end
local entry, channel = first_of(channels)
if not entry then
    local next_at = tonumber(due_at or redis.call('ZRANGE', base .. 'held', 0, 0, 'WITHSCORES')[2])
    return {lost, next_at and math.max(next_at - now, 0) or false}
end
redis.call('LPOP', base .. 'q:' .. channel)
drop_expired(channel)
if ARGV[2] ~= '' then
    local held = base .. 'held'
    redis.call('ZADD', held, now + tonumber(ARGV[3]), channel .. '|' .. ARGV[2])
    keep(held, now + COUNTS_KEPT)
end
return {lost, {channel, entry}}
