-- Decides any number of Takes and Peeks in order, at one reading of the clock, and
-- commits them. It answers with the states that it found; the caller computes each
-- Decision from them by the strategy's own Decide.
--
-- KEYS     the distinct keys, at most 512
-- ARGV[1]  the Takes in order, then the distinct draw specs, the last one first
-- ARGV[2]  none for the clock of Redis, else the instant as a double, for tests
--
-- A Take is 16-bit numbers: its number of ops (plus 32768 for a Peek), and for each op its
-- key, counted from 1, and how far from the end of ARGV[1] its draw spec begins. A run of
-- equal draws on one key is 16384 plus their number, key and draw spec.
--
-- A draw spec is a 16-bit number, a byte and four doubles: kind, flags, cost, limit, period,
-- l. That of a refund, and of an op of a log or a custom script, has six doubles more:
-- taken, x, y, z, w, p.
--
-- The answer: the instant as a double; for each key one byte, the length of its state, 0
-- for none and for one that no count has; those states; and 7 doubles for each op of a
-- log or a custom script: allowed (1 or 0), limit, remaining, retry after (-1 for never),
-- reset after, delay, instant. Times are in microseconds.
--
-- Redis makes each function and table of a script anew for each call, which takes as long
-- as a decision, and an argument takes half as long. So there is one argument, counts are
-- decided inside one loop, and what only other draws need is made for those.
local call, pack, read = redis.call, struct.pack, struct.unpack
local MAX = 9007199254740992

local log, custom -- functions, for the draws that need them

local now, spare
if ARGV[2] then
  -- Keys expire by the clock of Redis all the same; an hour makes up for that.
  now, spare = read('<d', ARGV[2]), 3600002
else
  local t = call('TIME')
  now, spare = t[1] * 1000000 + t[2], 2
end

-- The draw spec in use. Of a bucket, limit is the capacity, and l/period its rate in lowest
-- terms; of a custom script, l/p is. What x, y, z and w are depends on the kind.
local kind, flags, cost, limit, period, l, taken, x, y, z, w, p

