-- SlidingWindowCounter.
-- The number of the period p in which t lies.
local function index(t, p)
  return (t - fmod(t, p)) / p
end

sliding = {}

-- Tells counts written at t in windows of the period was in those of p: all of
-- the window before counts as drawn in its last microsecond.
local function rebase(cur, prev, t, was, p)
  local last, window = t - fmod(t, was) - 1, index(t, p)
  if last < 0 or index(last, p) < window - 1 then
    return cur, 0
  elseif index(last, p) == window then
    return add(cur, prev), 0
  end
  return cur, prev
end

function sliding.load(k, s)
  local raw, p = k.raw, s.period
  k.b, k.c = 0, 0
  if raw and #raw == 33 and byte(raw) == 83 then
    local t, cur, prev, was = unpack_state('<dddd', raw, 2)
    if t >= 0 and cur >= 0 and prev >= 0 and was > 0 and t <= MAX and cur <= MAX and prev <= MAX and was <= MAX
        and t % 1 + cur % 1 + prev % 1 + was % 1 == 0 then
      if was ~= p then
        cur, prev = rebase(cur, prev, t, was, p)
      end
      if cur > 0 or prev > 0 then
        local rolled = window_at(k, t, p)
        if rolled == 0 then
          k.b, k.c = cur + 0, prev + 0
        elseif rolled == 1 then
          k.c = cur + 0
        end
        return
      end
    end
  end
  window_at(k, now, p)
end

-- What the window before still counts, rounded up.
local function weighted(k, s)
  if k.c == 0 then
    return 0
  end
  return muldivceil(k.c, s.period - max(0, now - k.a), 0, s.period)
end

function sliding.room(k, s)
  return s.limit - k.b - weighted(k, s)
end

function sliding.fits(k, s)
  return s.cost <= 0 or s.force or s.cost <= sliding.room(k, s)
end

-- When cost fits: within this window if the one before is in the way, else
-- within the next. The order of the sums keeps them exact.
local function sliding_retry(k, s, cost)
  if cost > s.limit then
    return -1
  end
  local room, p = s.limit - k.b - cost, s.period
  local early
  if room >= 0 then
    early = muldivmod(room, p, 0, k.c)
    return min(p - early + (k.a - now), MAX)
  end
  early = muldivmod(s.limit - cost, p, 0, k.b)
  return min(p - early + (k.a - now + p), MAX)
end

local function sliding_refund(k, s, cost)
  if counts_refund(k, s.taken) then
    k.b = max(0, k.b + cost)
  elseif s.taken >= k.a - s.period then
    k.c = max(0, k.c + cost)
  end
end

function sliding.decide(k, s, cost)
  local retry, reset, at, p = 0, 0, max(now, k.a), s.period
  if cost > 0 then
    if not s.force and cost > s.limit - k.b - weighted(k, s) then
      retry = sliding_retry(k, s, cost)
    else
      k.b, k.dirty = add(k.b, min(cost, MAX)), true
    end
  elseif cost < 0 then
    sliding_refund(k, s, cost)
    k.dirty = true
  end
  local remaining = max(0, s.limit - k.b - weighted(k, s))
  if k.b > 0 then
    reset = min(k.a - now + p + p, MAX)
  elseif k.c > 0 then
    reset = min(k.a - now + p, MAX)
  else
    window_at(k, now, p)
  end
  k.reset = reset
  return remaining, retry, reset, at
end

function sliding.encode(k, s)
  if k.b == 0 and k.c == 0 then
    return false
  end
  return pack('<Bdddd', 83, max(now, k.a), k.b, k.c, s.period)
end
