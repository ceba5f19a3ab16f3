-- Whole numbers up to 2^53: each is a double exactly.

-- (a*b+plus)/m rounded up, the same rounded down, and the remainder. What is above 2^53
-- becomes 2^53 with no remainder. A product too large for a double is built up from the
-- bits of the smaller factor, as quotient and remainder.
local function muldiv(a, b, plus, m)
  local MAX = 9007199254740992 -- a variable of its own is cheaper than that of the script
  local product = a * b + plus
  if product + m < MAX then -- where % is exact
    local r = product % m
    local q = (product - r) / m
    return r > 0 and q + 1 or q, q, r
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
  local rb, rp = math.fmod(b, m), math.fmod(plus, m)
  local qb, qp = (b - rb) / m, (plus - rp) / m
  local bit = 1
  while bit * 2 <= a do
    bit = bit * 2
  end
  while bit >= 1 do
    local carry = plus_rest(r)
    if q > (MAX - carry) / 2 then
      return MAX, MAX, 0
    end
    q = q + q + carry
    if a >= bit then
      a, carry = a - bit, plus_rest(rb)
      if q > MAX - qb - carry then
        return MAX, MAX, 0
      end
      q = q + qb + carry
    end
    bit = bit / 2
  end
  local carry = plus_rest(rp)
  if q > MAX - qp - carry then
    return MAX, MAX, 0
  end
  q = q + qp + carry
  return r > 0 and q < MAX and q + 1 or q, q, r
end
