-- Floor and remainder of (a*b+plus)/m. A quotient above 2^53 becomes 2^53 with no
-- remainder. A product too large for a double is built up from the bits of the smaller
-- factor, as quotient and remainder.
local function muldivmod(a, b, plus, m)
  local x = a * b + plus
  if x + m < MAX then -- where % is exact
    local r = x % m
    return (x - r) / m, r
  end
  if b < a then
    a, b = b, a
  end
  local q, r = 0, 0
  -- Adds a remainder; returns the carry.
  local function plus_rest(rest)
    if r >= m - rest then
      r = r - (m - rest)
      return 1
    end
    r = r + rest
    return 0
  end
  local rb, rp = fmod(b, m), fmod(plus, m)
  local qb, qp = (b - rb) / m, (plus - rp) / m
  local bit = 1
  while bit * 2 <= a do
    bit = bit * 2
  end
  while bit >= 1 do
    local carry = plus_rest(r)
    if q > (MAX - carry) / 2 then
      return MAX, 0
    end
    q = q + q + carry
    if a >= bit then
      a, carry = a - bit, plus_rest(rb)
      if q > MAX - qb - carry then
        return MAX, 0
      end
      q = q + qb + carry
    end
    bit = bit / 2
  end
  local carry = plus_rest(rp)
  if q > MAX - qp - carry then
    return MAX, 0
  end
  return q + qp + carry, r
end

local function muldivceil(a, b, plus, m)
  local x = a * b + plus
  if x + m < MAX then
    local r = x % m
    return r > 0 and (x - r) / m + 1 or x / m
  end
  local q, r = muldivmod(a, b, plus, m)
  if r > 0 and q < MAX then
    return q + 1
  end
  return q
end
