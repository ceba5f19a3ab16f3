-- FixedWindow.
--
-- n units are counted in the window that begins at start, a multiple of period. The state
-- is the tag 70 and the doubles t, an instant in the window, and n. A state of an earlier
-- window counts nothing.
local start, n, write = now - (now + period < MAX and now % period or math.fmod(now, period)), 0, false
if state and #state == 17 then
  local tag, t, count = read('<Bdd', state)
  if tag == 70 and t >= start and count > 0 and t <= MAX and count <= MAX and t % 1 == 0 and count % 1 == 0 then
    n = count
    if t - start >= period then -- ahead of the clock: it counts in the next window
      write = t - start >= 2 * period
      start = start + period
    end
  end
end
if units > 0 then
  local room = limit - n
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
  end
  write = true
end
if write then
  next = n > 0 and pack('<Bdd', 70, start > now and start or now, n)
end
reset = n > 0 and start - now + period or 0
