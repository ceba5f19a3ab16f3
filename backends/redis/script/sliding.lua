-- SlidingWindowCounter.
--
-- n units are counted in the window that begins at start, a multiple of period, and before
-- in the one before it. Those count in proportion to how much of their window lies less
-- than a period back. The state is the tag 83 and the doubles t, an instant in the window,
-- n, before and the period.
local start, n, before, write = now - (now + period < MAX and now % period or math.fmod(now, period)), 0, 0, false
if state and #state == 33 then
  local tag, t, count, prev, was = read('<Bdddd', state)
  if tag == 83 and t >= 0 and count >= 0 and prev >= 0 and was > 0 and t <= MAX and count <= MAX and prev <= MAX
      and was <= MAX and t % 1 == 0 and count % 1 == 0 and prev % 1 == 0 and was % 1 == 0 then
    if was ~= period then -- all units of the window before count as drawn in its last microsecond
      local last, window = t - math.fmod(t, was) - 1, t - math.fmod(t, period)
      if last >= window then
        count, prev = math.min(count + prev, MAX), 0
      elseif last < 0 or last < window - period then
        prev = 0
      end
    end
    local age = start - t
    if age > 0 and age <= period then
      before = count + 0
    elseif age <= 0 and count + prev > 0 then
      n, before = count + 0, prev + 0
      if -age >= period then -- ahead of the clock: it counts in the next window
        write = -age >= 2 * period
        start = start + period
      end
    end
  end
end
if units > 0 then
  -- What the window before still counts is rounded up.
  local room = limit - n - (before > 0 and muldiv(before, now > start and period - now + start or period, 0, period) or 0)
  local drawn = force and math.min(units, MAX) or units <= room and (times == 1 and units or math.min(units * times, room - math.fmod(room, units)))
  if drawn then
    n, write = n + drawn, true
    if n > MAX then
      n = MAX
    end
  else
    fits = false
  end
elseif units < 0 then
  if taken == 0 or taken > now or taken >= start then
    n = math.max(0, n + units)
  elseif taken >= start - period then
    before = math.max(0, before + units)
  end
  write = true
end
if write then
  next = (n > 0 or before > 0) and pack('<Bdddd', 83, start > now and start or now, n, before, period)
end
reset = n > 0 and start - now + 2 * period or before > 0 and start - now + period or 0
