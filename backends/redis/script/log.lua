-- SlidingWindowLog. Takes the state, the cost and whether the draw is forced; returns whether
-- it fits, the next state, after how long the key resets, and the decision.
--
-- There are n entries in order: units[i] were drawn at at[i], and sum of all count. The state
-- is the tag 87 and two doubles for each entry. Beyond x entries the instants are rounded up
-- to multiples of quantum, so that entries merge. A call reads all entries, and a denial walks
-- them once more. The state may be long: so the decision is made here, not by the caller.

log = function(state, cost, force)
  local fmod, min, max = math.fmod, math.min, math.max
  local at, units, n, sum, write = {}, {}, 0, 0, false
  local quantum = (period - 1 - fmod(period - 1, x)) / x + 1

  -- Enters count at t. Only entries ahead of the clock follow it.
  local function enter(t, count)
    local i = n
    while i > 0 and at[i] >= t do
      i = i - 1
    end
    if i < n and at[i + 1] == t then
      units[i + 1] = min(units[i + 1] + count, MAX)
      return
    end
    table.insert(at, i + 1, t)
    table.insert(units, i + 1, count)
    n = n + 1
  end

  local function rounded(t)
    return min(t + fmod(quantum - fmod(t, quantum), quantum), MAX)
  end

  -- Anything but entries in order, each with units, reads as no log.
  local ahead, last, from = 0, -1, 2
  local valid = state and string.byte(state) == 87 and fmod(#state, 16) == 1
  while valid and from <= #state do
    local count = min(120, (#state - from + 1) / 8)
    local fields = {read('<' .. string.rep('d', count), state, from)}
    for i = 1, count, 2 do
      local t, u = fields[i], fields[i + 1]
      if not (t > last and u > 0 and t <= MAX and u <= MAX and t % 1 + u % 1 == 0) then
        valid = false
        break
      end
      last = t
      if t - now > quantum then
        ahead = min(ahead + u, MAX)
      elseif now - t < period then
        n = n + 1
        at[n], units[n] = t + 0, u
      end
    end
    from = from + 960
  end
  if not valid then
    at, units, n, ahead = {}, {}, 0, 0
  elseif ahead > 0 then
    write = true
    enter(now, ahead)
  end
  for i = 1, n do
    sum = min(sum + units[i], MAX)
  end

  local allowed, retry, instant = 1, 0, now
  if cost > 0 and not force and cost > limit - sum then
    -- The first entry whose units, with those of all older ones, are in the way.
    allowed, retry = 0, -1
    if cost <= limit then
      local i, kept = n, 0
      while i > 1 do
        kept = min(kept + units[i], MAX)
        if kept > limit - cost then
          break
        end
        i = i - 1
      end
      retry = min(at[i] - now + period, MAX)
    end
  elseif cost > 0 then
    enter(now, min(cost, MAX))
    sum, write = min(sum + min(cost, MAX), MAX), true
    if n > x then -- round all instants up; those that become equal merge
      local all, counts, count = at, units, n
      at, units, n = {}, {}, 0
      for i = 1, count do
        enter(rounded(min(all[i], now)), counts[i])
      end
      instant = rounded(now)
    end
  elseif cost < 0 then
    -- The entry has the draw's instant, that of a clock that went back, or a rounded one.
    local function find(t)
      for i = 1, n do
        if at[i] == t then
          return i
        end
      end
    end
    local drawn = taken == 0 and now or taken
    local past = min(drawn, now)
    local found = find(drawn) or find(past) or now - past < period and find(rounded(past))
    if found and units[found] > -cost then
      units[found] = units[found] + cost
    elseif found then
      table.remove(at, found)
      table.remove(units, found)
      n = n - 1
    end
    sum, write = 0, true
    for i = 1, n do
      sum = min(sum + units[i], MAX)
    end
  end

  local next
  if write then
    next = n > 0 and {'W'}
    for first = 1, n, 60 do
      local fields = {}
      for i = first, min(first + 59, n) do
        fields[#fields + 1] = at[i]
        fields[#fields + 1] = units[i]
      end
      next[#next + 1] = pack('<' .. string.rep('d', #fields), unpack(fields))
    end
    next = next and table.concat(next)
  end
  local reset = n > 0 and min(at[n] - now + period, MAX) or 0
  return allowed == 1, next, reset, {allowed, limit, max(0, limit - sum), retry, reset, 0, instant}
end
