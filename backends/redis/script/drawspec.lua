local byte, ceil, fmod, min, max = string.byte, math.ceil, math.fmod, math.min, math.max

-- Only what the draws need is made: each function of a script is made anew for
-- each call.
local linear, fixed, sliding, log, custom
local wants, specs = {}, {}
for i = 1, #ARGV[2] / 96 do
  local kind, flags, limit, period, l, p, cost, taken, x, y, z, w = unpack_state('<dddddddddddd', ARGV[2], i * 96 - 95)
  wants[kind < 100 and kind or 100] = true
  specs[i] = {
    kind = kind, limit = limit, period = period, l = l, p = p, cost = cost, taken = taken, x = x, now = now,
    force = flags % 2 == 1, advisory = flags % 4 >= 2, queue = flags >= 4, family = false, y = y, z = z, w = w,
  }
end
