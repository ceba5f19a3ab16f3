-- For reading and swapping. ARGV[1] is '' for Redis' own clock, else the instant in
-- decimal (for tests).
local stored = #KEYS > 0 and redis.call('MGET', unpack(KEYS)) or {}

-- The instant, the states of KEYS, and for how many milliseconds each will be kept, -1
-- without an end.
local function states()
  local now, kept = ARGV[1], {}
  if now == '' then
    local t = redis.call('TIME')
    now = string.format('%.0f', t[1] * 1000000 + t[2])
  end
  for i = 1, #KEYS do
    kept[i] = stored[i] and redis.call('PTTL', KEYS[i]) or 0
  end
  return {now, stored, kept}
end
