-- TokenBucket, TokenBucketWithDebt, LeakyBucket, LeakyBucketWithQueue and GCRA.
--
-- One bucket: n + r/period units are in use, of which l/period leak each microsecond, so
-- that the level needs no fractions. The state is the tag 76 and the doubles t, n, r and
-- the period, as of t. A draw fits if the units in use, rounded up, leave room below limit.
--
-- A refund returns what the draw would still hold: y is when the draw left the key free, z
-- when its turn in the queue came.
local n, r, write = 0, 0, false
if state and #state == 33 then
  local tag, t, whole, rest, was = read('<Bdddd', state)
  if tag == 76 and t >= 0 and whole >= 0 and rest >= 0 and was > rest and t <= MAX and whole <= MAX and was <= MAX
      and t % 1 == 0 and whole % 1 == 0 and rest % 1 == 0 and was % 1 == 0 and whole + rest > 0 and (whole < MAX or rest == 0) then
    n, r = whole + 0, rest + 0
    if was ~= period then
      r = muldiv(r, period, 0, was)
      if r == period then
        n, r = n < MAX and n + 1 or MAX, 0
      end
    end
    if t < now then
      local x, _, q = (now - t) * l, nil, nil
      if x + period < MAX then -- nearly always: a call of muldiv takes longer
        local rest = x % period
        n, r = n - (x - rest) / period, r - rest
      else
        _, q, x = muldiv(now - t, l, 0, period)
        n, r = n - q, r - x
      end
      if r < 0 then
        n, r = n - 1, r + period
      end
      if n < 0 then
        n, r = 0, 0
      end
    else
      write = t > now
    end
  end
end
if units > 0 then
  local room = limit - n - (r > 0 and 1 or 0)
  local drawn = force and math.min(units, MAX) or units <= room and (times == 1 and units or math.min(units * times, room - math.fmod(room, units)))
  if drawn then
    n, write = n + drawn, true
    if n >= MAX then
      n, r = MAX, 0
    end
  else
    fits = false
  end
elseif units < 0 then
  local back, elapsed = 0, 0
  if flags < 4 or now < z and y < MAX and 2 * l <= period and now + muldiv(n, period, r, l) == y
      and muldiv(-units, period, 0, l) >= y - z then -- of a queue only what waits at its end
    if taken > 0 and taken < now then
      elapsed = now - taken
    end
    if y > now then -- rounded up if the level has leaked since the draw
      local more, _ = elapsed == 0 and 0 or 1
      _, back = muldiv(y - now - more, l, more, period)
    end
    if y == 0 or y == MAX then -- unknown: at least what it would hold of an untouched key
      back = math.max(back, -units - muldiv(elapsed, l, 0, period))
    end
    back = math.min(-units, back)
  end
  n, write = n - back, true
  if n < 0 then
    n, r = 0, 0
  end
end
local used = n > 0 or r > 0
if write then
  next = used and pack('<Bdddd', 76, now, n, r, period)
end
if used then
  local x = n * period + r
  if x + l < MAX then
    local rest = x % l
    reset = rest > 0 and (x - rest) / l + 1 or x / l
  else
    reset = muldiv(n, period, r, l)
  end
end
