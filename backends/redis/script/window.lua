-- What FixedWindow and SlidingWindowCounter share. a is where the window that
-- counts begins, b the count in it, c that of the window before.

-- Puts the window that counts at now for a state written at t into k, and
-- returns how many windows have begun since, 2 for any more.
local function window_at(k, t, p)
  local start, stored = now - fmod(now, p), t - fmod(t, p)
  k.repaired = false
  if stored <= start then
    k.a = start
    if stored == start then
      return 0
    end
    return start - stored == p and 1 or 2
  end
  k.a = start + p
  k.repaired = stored ~= k.a
  return 0
end

-- Whether a refund of units drawn at taken is one to the window that counts.
local function counts_refund(k, taken)
  return taken == 0 or taken > now or taken >= k.a
end
