-- For reading and swapping whole states. MGET takes a thousand keys at a time: Lua unpacks
-- some 8,000 at most.
local stored = {}
for from = 1, #KEYS, 1000 do
  for _, state in ipairs(redis.call('MGET', unpack(KEYS, from, math.min(from + 999, #KEYS)))) do
    stored[#stored + 1] = state
  end
end
