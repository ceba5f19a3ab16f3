-- FixedWindow.
fixed = {}

function fixed.load(k, s)
  local raw = k.raw
  k.b = 0
  if raw and #raw == 17 and byte(raw) == 70 then
    local t, n = unpack_state('<dd', raw, 2)
    if t >= 0 and n > 0 and t <= MAX and n <= MAX and t % 1 + n % 1 == 0 then
      if window_at(k, t, s.period) == 0 then
        k.b = n
      end
      return
    end
  end
  window_at(k, now, s.period)
end

function fixed.room(k, s)
  return s.limit - k.b
end

function fixed.fits(k, s)
  return s.cost <= 0 or s.force or s.cost <= fixed.room(k, s)
end

function fixed.decide(k, s, cost)
  local n, limit, retry, reset = k.b, s.limit, 0, 0
  local at, left = max(now, k.a), min(k.a - now + s.period, MAX)
  if cost > 0 then
    if not s.force and cost > limit - n then
      retry = cost > limit and -1 or left
    else
      n = add(n, min(cost, MAX))
      k.b, k.dirty = n, true
    end
  elseif cost < 0 then
    if counts_refund(k, s.taken) then
      n = max(0, n + cost)
    end
    k.b, k.dirty = n, true
    if n == 0 then
      window_at(k, now, s.period)
    end
  end
  if n > 0 then
    reset = left
  end
  k.reset = reset
  return max(0, limit - n), retry, reset, at
end

function fixed.encode(k)
  if k.b == 0 then
    return false
  end
  return pack('<Bdd', 70, max(now, k.a), k.b)
end
