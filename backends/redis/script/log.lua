-- SlidingWindowLog. at and units are the entries that count, from the oldest on,
-- a is how many there are and b their sum.
log = {}

local function log_sum(k)
  local sum = 0
  for i = 1, k.a do
    sum = add(sum, k.units[i])
  end
  k.b = sum
end

-- Enters units at t; only entries ahead of the clock come after it.
local function log_add(k, t, units)
  local i = k.a
  while i > 0 and k.at[i] >= t do
    i = i - 1
  end
  if i < k.a and k.at[i + 1] == t then
    k.units[i + 1] = add(k.units[i + 1], units)
    return
  end
  table.insert(k.at, i + 1, t)
  table.insert(k.units, i + 1, units)
  k.a = k.a + 1
end

-- The fields of a log, or nil unless they are entries in order, none without
-- units.
local function log_fields(raw)
  local fields, last = {}, -1
  for from = 2, #raw, 960 do
    local count = min(120, (#raw - from + 1) / 8)
    local part = {unpack_state('<' .. string.rep('d', count), raw, from)}
    for i = 1, count, 2 do
      local t, units = part[i], part[i + 1]
      if not (t > last and units > 0 and t <= MAX and units <= MAX and t % 1 + units % 1 == 0) then
        return nil
      end
      last = t
      fields[#fields + 1] = t + 0
      fields[#fields + 1] = units
    end
  end
  return fields
end

function log.load(k, s)
  local raw = k.raw
  k.at, k.units, k.a, k.b, k.repaired = {}, {}, 0, 0, false
  s.quantum = (s.period - 1 - fmod(s.period - 1, s.x)) / s.x + 1
  if not raw or byte(raw) ~= 87 or fmod(#raw, 16) ~= 1 then
    return
  end
  local fields, ahead, n = log_fields(raw), 0, 0
  if not fields then
    return
  end
  for i = 1, #fields, 2 do
    local t, units = fields[i], fields[i + 1]
    if t - now > s.quantum then
      ahead = add(ahead, units)
    elseif now - t < s.period then
      n = n + 1
      k.at[n], k.units[n] = t, units
    end
  end
  k.a = n
  if ahead > 0 then
    k.repaired = true
    log_add(k, now, ahead)
  end
  log_sum(k)
end

function log.fits(k, s)
  return s.cost <= 0 or s.force or s.cost <= s.limit - k.b
end

local function log_rounded(t, s)
  return min(t + fmod(s.quantum - fmod(t, s.quantum), s.quantum), MAX)
end

-- Rounds all instants up and merges those that become one.
local function log_round(k, s)
  local at, units, last = {}, {}, 0
  for i = 1, k.a do
    local t = log_rounded(min(k.at[i], now), s)
    if last > 0 and at[last] == t then
      units[last] = add(units[last], k.units[i])
    else
      last = last + 1
      at[last], units[last] = t, k.units[i]
    end
  end
  k.at, k.units, k.a = at, units, last
end

local function log_find(k, t)
  local low, high = 1, k.a + 1
  while low < high do
    local mid = math.floor((low + high) / 2)
    if k.at[mid] < t then
      low = mid + 1
    else
      high = mid
    end
  end
  if low <= k.a and k.at[low] == t then
    return low
  end
end

local function log_refund(k, s, units)
  local taken = s.taken == 0 and now or s.taken
  local i = log_find(k, taken)
  if not i then
    taken = min(taken, now)
    i = log_find(k, taken)
  end
  if not i and now - taken < s.period then
    i = log_find(k, log_rounded(taken, s))
  end
  if not i then
    return
  end
  if k.units[i] > units then
    k.units[i] = k.units[i] - units
    return
  end
  table.remove(k.at, i)
  table.remove(k.units, i)
  k.a = k.a - 1
end

-- When the first entry has expired whose units, with those of all older ones,
-- are in the way.
local function log_retry(k, s, cost)
  if cost > s.limit then
    return -1
  end
  local i, kept = k.a, 0
  while i > 1 do
    kept = add(kept, k.units[i])
    if kept > s.limit - cost then
      break
    end
    i = i - 1
  end
  return min(k.at[i] - now + s.period, MAX)
end

function log.decide(k, s, cost)
  local retry, reset, at = 0, 0, now
  if cost > 0 then
    if not s.force and cost > s.limit - k.b then
      retry = log_retry(k, s, cost)
    else
      log_add(k, now, min(cost, MAX))
      if k.a > s.x then
        log_round(k, s)
        at = log_rounded(now, s)
      end
      k.b, k.dirty = add(k.b, min(cost, MAX)), true
    end
  elseif cost < 0 then
    log_refund(k, s, -cost)
    log_sum(k)
    k.dirty = true
  end
  if k.a > 0 then
    reset = min(k.at[k.a] - now + s.period, MAX)
  end
  k.reset = reset
  return max(0, s.limit - k.b), retry, reset, at
end

function log.encode(k)
  if k.a == 0 then
    return false
  end
  local parts = {'W'}
  for from = 1, k.a, 100 do
    local to = min(from + 99, k.a)
    local part = {}
    for i = from, to do
      part[#part + 1] = k.at[i]
      part[#part + 1] = k.units[i]
    end
    parts[#parts + 1] = pack('<' .. string.rep('d', #part), unpack(part))
  end
  return table.concat(parts)
end
