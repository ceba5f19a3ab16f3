-- Strategies with a custom script. What it says about the state is kept
-- as the next state.
custom = {}

-- A script may forget or miscalculate. It is stopped here, before anything is
-- written.
local function number(d, name, least, missing)
  local v = d[name]
  if v == nil then
    v = missing
  end
  if type(v) ~= 'number' or v % 1 ~= 0 or v < least or v > MAX then
    error('the script of a strategy answered ' .. name .. ' = ' .. tostring(v) .. '; whole numbers from ' .. least .. ' to 2^53 are accepted')
  end
  return v
end

local function decided(k, s, cost)
  local state, d = s.custom(k.a or nil, s, cost)
  if type(d) ~= 'table' or state and type(state) ~= 'string' then
    error('the script of a strategy answered a ' .. type(state) .. ' and a ' .. type(d) .. '; a string or nil and a table are accepted')
  end
  return state, d
end

function custom.load(k, s)
  k.a, k.repaired = k.raw, false
  s.custom, s.args = s.custom or scripts[s.kind - 99], {s.x, s.y, s.z, s.w}
end

function custom.fits(k, s)
  local _, d = decided(k, s, s.cost)
  return d.allowed
end

function custom.decide(k, s, cost)
  local state, d = decided(k, s, cost)
  local reset = number(d, 'reset_after', 0)
  if state then
    k.a, k.dirty = state, true
  elseif cost < 0 then
    k.a, k.dirty = false, true
  end
  k.reset = reset
  return d.allowed and 1 or 0, number(d, 'limit', 0), number(d, 'remaining', 0), number(d, 'retry_after', -1, 0),
    reset, number(d, 'delay', 0, 0), number(d, 'at', 0, now)
end

function custom.encode(k)
  return k.a
end
