-- For reading and swapping. ARGV[1] is '' for Redis' own clock, else the instant in
-- decimal (for tests).
local stored = redis.call('MGET', unpack(KEYS))

-- The instant, the states of KEYS, and which of them have no expiry, counted from 1.
local function states()
  local now, endless = ARGV[1], {}
  if now == '' then
    local t = redis.call('TIME')
    now = string.format('%.0f', t[1] * 1000000 + t[2])
  end
  for i = 1, #KEYS do
    if stored[i] and redis.call('PTTL', KEYS[i]) == -1 then
      endless[#endless + 1] = i
    end
  end
  return {now, stored, endless}
end
