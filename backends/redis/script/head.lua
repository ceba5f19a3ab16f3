-- Decides any number of Takes and Peeks in order, at one reading of the clock, and
-- commits them. It answers with the states that it found; the caller computes each
-- Decision from them by the strategy's own Decide.
--
-- KEYS     the distinct keys, at most 512
-- ARGV[1]  '' for the clock of Redis, else the instant as a double, for tests
-- ARGV[2]  the distinct draw specs, 12 doubles each
-- ARGV[3]  16-bit numbers, for each Take: its number of ops (plus 32768 for a Peek), then
--          key and draw spec of each op, counted from 1; for a run of equal draws on one
--          key 16384 plus their number, then key and draw spec
-- ARGV[4]  'custom' if an op has a custom script, 'log' if one is of a log, else ''
--
-- The answer: the instant as a double; for each key one byte, the length of its state, 0
-- for none and for one that no count has; those states; and 7 doubles for each op of a
-- log or a custom script: allowed (1 or 0), limit, remaining, retry after (-1 for never),
-- reset after, delay, instant. Times are in microseconds.
--
-- Redis makes each function and table of a script anew for each call, which takes as long
-- as a decision. So counts are decided inside one loop, and what only other draws need is
-- made for those.
local call, pack, read = redis.call, struct.pack, struct.unpack
local fmod, min, max = math.fmod, math.min, math.max
local MAX = 9007199254740992

local now, spare
if ARGV[1] == '' then
  local t = call('TIME')
  now, spare = t[1] * 1000000 + t[2], 1
else
  -- Keys expire by the clock of Redis all the same; an hour makes up for that.
  now, spare = read('<d', ARGV[1]), 3600001
end

-- The draw spec in use. l/p is limit/period in lowest terms; x, y, z and w depend on the
-- kind.
local kind, flags, limit, period, l, p, cost, taken, x, y, z, w

-- Whole numbers up to 2^53: each is a double exactly.
