-- One call decides and writes any number of Takes and Peeks, in order, at one
-- reading of the clock.
--
-- KEYS     the distinct keys of all of them
-- ARGV[1]  '' for Redis' own clock, else the instant as a double (for tests)
-- ARGV[2]  the distinct draws, 12 doubles each
-- ARGV[3]  16-bit numbers: for each Take how many ops, plus 32768 for a Peek,
--          and for each op its key and its draw, counted from 1; for a run of
--          Takes of the same single op 16384 plus how many, one or more, and the op
-- ARGV[4]  '' or, if there is one run on each key and no more, how many Takes and
--          which draw it is, a byte each
--
-- The answer is 'A' and doubles: the instant, and for each op remaining, retry
-- after (-1 for never, 0 for allowed), reset after, and delay of a queue or the
-- instant of the record; of a strategy with a custom script allowed, limit,
-- remaining, retry after, reset after, delay and instant. For several Takes of a
-- run it is the numbers of the state before it, from which the caller tells what
-- each got. To ARGV[4] it may be 'S', the instant, and for each key the bytes of
-- the state before, zeros if there was none. Times are microseconds.
local pack, unpack_state = struct.pack, struct.unpack
local MAX = 9007199254740992

local now, spare
if ARGV[1] == '' then
  local t = redis.call('TIME')
  now, spare = t[1] * 1000000 + t[2], 1
else
  -- Expiry follows Redis' clock all the same; an hour makes up for it.
  now, spare = unpack_state('<d', ARGV[1]), 3600001
end
