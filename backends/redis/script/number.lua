-- Whole numbers up to 2^53, of which each has a double of its own.

local function add(a, b)
  if a > MAX - b then
    return MAX
  end
  return a + b
end

-- Floor and remainder of (a*b+add)/m; a quotient above 2^53 is 2^53 without a
-- remainder. Where the product is too large for a double, it is doubled and
-- added bit by bit of the smaller factor, over quotient and remainder.
local function muldivmod(a, b, plus, m)
  local x = a * b + plus
  if x + m < MAX then -- where % is exact
    local r = x % m
    return (x - r) / m, r
  end
  if b < a then
    a, b = b, a
  end
  local rb = fmod(b, m)
  local qb = (b - rb) / m
  local bit = 1
  while bit * 2 <= a do
    bit = bit * 2
  end
  local q, r = 0, 0
  while bit >= 1 do
    local carry = 0
    if r >= m - r then
      carry, r = 1, r - (m - r)
    else
      r = r + r
    end
    if q > (MAX - carry) / 2 then
      return MAX, 0
    end
    q = q + q + carry
    if a >= bit then
      a, carry = a - bit, 0
      if r >= m - rb then
        carry, r = 1, r - (m - rb)
      else
        r = r + rb
      end
      if q > MAX - qb - carry then
        return MAX, 0
      end
      q = q + qb + carry
    end
    bit = bit / 2
  end
  local rp = fmod(plus, m)
  local qp, carry = (plus - rp) / m, 0
  if r >= m - rp then
    carry, r = 1, r - (m - rp)
  else
    r = r + rp
  end
  if q > MAX - qp - carry then
    return MAX, 0
  end
  return q + qp + carry, r
end

local function muldivceil(a, b, plus, m)
  local x = a * b + plus
  if x + m < MAX then
    local r = x % m
    if r > 0 then
      return (x - r) / m + 1
    end
    return x / m
  end
  local q, r = muldivmod(a, b, plus, m)
  if r > 0 and q < MAX then
    return q + 1
  end
  return q
end
