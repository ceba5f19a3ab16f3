-- The linear kernel of TokenBucket, TokenBucketWithDebt, LeakyBucket,
-- LeakyBucketWithQueue and GCRA. a is the level in whole units, b its remainder
-- over p, both as of now.
linear = {}

function linear.load(k, s)
  local raw, p = k.raw, s.p
  k.a, k.b, k.repaired = 0, 0, false
  if not raw or #raw ~= 33 or byte(raw) ~= 76 then
    return
  end
  local t, n, r, was = unpack_state('<dddd', raw, 2)
  if not (t >= 0 and n >= 0 and r >= 0 and was > r and t <= MAX and n <= MAX and was <= MAX
      and t % 1 + n % 1 + r % 1 + was % 1 == 0) or n + r == 0 or n == MAX and r > 0 then
    return
  end
  if was ~= p then
    r = muldivceil(r, p, 0, was)
    if r == p then
      n, r = add(n, 1), 0
    end
  end
  if now > t then
    local q, rem = muldivmod(now - t, s.l, 0, p)
    n, r = n - q, r - rem
    if r < 0 then
      n, r = n - 1, r + p
    end
    if n < 0 then
      n, r = 0, 0
    end
  end
  k.a, k.b, k.repaired = n + 0, r + 0, now < t
end

local function used(k)
  if k.b > 0 then
    return add(k.a, 1)
  end
  return k.a
end

function linear.room(k, s)
  return s.x - used(k)
end

function linear.fits(k, s)
  return s.cost <= 0 or s.force or s.cost <= linear.room(k, s)
end

-- How many of the units that a draw took at s.taken, and left the key free at s.y, are
-- still in use.
local function held(units, s)
  local elapsed, left, free = 0, 0, s.y
  if s.taken > 0 and s.taken < now then
    elapsed = now - s.taken
  end
  if free > now then
    if elapsed == 0 then
      left = muldivmod(free - now, s.l, 0, s.p)
    else
      left = muldivmod(free - now - 1, s.l, 1, s.p)
    end
  end
  if free == 0 or free == MAX then
    left = max(left, units - muldivceil(elapsed, s.l, 0, s.p))
  end
  return min(units, left)
end

-- Whether a draw whose turn comes at s.z waits at the end of the queue.
local function withdraws(k, units, s)
  return now < s.z and s.y < MAX and 2 * s.l <= s.p and now + muldivceil(k.a, s.p, k.b, s.l) == s.y and muldivceil(units, s.p, 0, s.l) >= s.y - s.z
end

function linear.decide(k, s, cost)
  local n, r, cap, l, p, retry, ahead = k.a, k.b, s.x, s.l, s.p, 0, 0
  local room = cap - n - (r > 0 and 1 or 0)
  if cost > 0 then
    if not s.force and cost > room then
      retry = -1
      if cost <= cap then
        retry = muldivceil(n - cap + cost, p, r, l)
      end
    else
      if s.queue then
        ahead = muldivceil(n, p, r, l)
      end
      n = add(n, cost > MAX and MAX or cost)
      if n == MAX then
        r = 0
      end
      k.a, k.b, k.dirty = n, r, true
      room = cap - n - (r > 0 and 1 or 0)
    end
  elseif cost < 0 then
    local units = 0
    if not s.queue or withdraws(k, -cost, s) then
      units = held(-cost, s)
    end
    if units > n or (units == n and r == 0) then
      n, r = 0, 0
    else
      n = n - units
    end
    k.a, k.b, k.dirty = n, r, true
    room = cap - n - (r > 0 and 1 or 0)
  end
  local reset = muldivceil(n, p, r, l)
  k.reset = reset
  return room > 0 and room or 0, retry, reset, s.queue and ahead or now
end

function linear.encode(k, s)
  if k.a == 0 and k.b == 0 then
    return false
  end
  return pack('<Bdddd', 76, now, k.a, k.b, s.p)
end
