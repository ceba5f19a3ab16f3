-- TokenBucket, TokenBucketWithDebt, LeakyBucket, LeakyBucketWithQueue and GCRA: n + r/p
-- units are in use, of which l/p leak each microsecond. x is the capacity. Of a refund, y
-- is when the draw left the key free, z when its turn came.
local n, r, write = 0, 0, false
if state and #state == 33 then
  local tag, t, whole, rest, was = read('<Bdddd', state)
  if tag == 76 and t >= 0 and whole >= 0 and rest >= 0 and was > rest and t <= MAX and whole <= MAX and was <= MAX
      and t % 1 + whole % 1 + rest % 1 + was % 1 == 0 and whole + rest > 0 and (whole < MAX or rest == 0) then
    n, r, write = whole + 0, rest + 0, t > now
    if was ~= p then
      r = muldivceil(r, p, 0, was)
      if r == p then
        n, r = min(n + 1, MAX), 0
      end
    end
    if t < now then
      local q, leaked = muldivmod(now - t, l, 0, p)
      n, r = n - q, r - leaked
      if r < 0 then
        n, r = n - 1, r + p
      end
      if n < 0 then
        n, r = 0, 0
      end
    end
  end
end
if units > 0 then
  local room = x - n - (r > 0 and 1 or 0)
  local drawn = force and min(units, MAX) or units <= room and (times == 1 and units or min(units * times, room - fmod(room, units)))
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
  if flags < 4 or now < z and y < MAX and 2 * l <= p and now + muldivceil(n, p, r, l) == y
      and muldivceil(-units, p, 0, l) >= y - z then -- of a queue only what waits at its end
    if taken > 0 and taken < now then
      elapsed = now - taken
    end
    if y > now then -- rounded up if the level has leaked since the draw
      local more = elapsed == 0 and 0 or 1
      back = muldivmod(y - now - more, l, more, p)
    end
    if y == 0 or y == MAX then -- unknown: at least what it would hold of an untouched key
      back = max(back, -units - muldivceil(elapsed, l, 0, p))
    end
    back = min(-units, back)
  end
  n, write = n - back, true
  if n < 0 then
    n, r = 0, 0
  end
end
local used = n > 0 or r > 0
if write then
  next = used and pack('<Bdddd', 76, now, n, r, p)
end
reset = used and muldivceil(n, p, r, l) or 0
