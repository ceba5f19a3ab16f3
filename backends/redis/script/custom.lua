-- Strategies with a custom script. scripts holds their functions; Scripted in custom.go says
-- what they take and return. This function takes and returns what log does. It checks all
-- that a script returned, because an error after the first write would leave half a Take.

-- The value that a script returned as name. A wrong one stops everything here, before
-- anything is written.
local function number(decision, name, least, missing)
  local v = decision[name]
  if v == nil then
    v = missing
  end
  if type(v) ~= 'number' or v % 1 ~= 0 or v < least or v > MAX then
    error('the script of a strategy answered ' .. name .. ' = ' .. tostring(v) .. '; whole numbers from ' .. least .. ' to 2^53 are accepted')
  end
  return v
end

custom = function(state, units, force)
  local next, d = scripts[kind - 99](state or nil, {
    limit = limit, period = period, l = l, p = p, taken = taken, now = now, force = force, args = {x, y, z, w},
  }, units)
  if type(d) ~= 'table' or next and type(next) ~= 'string' then
    error('the script of a strategy answered a ' .. type(next) .. ' and a ' .. type(d) .. '; a string or nil and a table are accepted')
  end
  if not next then
    next = nil
    if units < 0 then
      next = false
    end
  end
  local reset = number(d, 'reset_after', 0)
  return d.allowed, next, reset, {d.allowed and 1 or 0, number(d, 'limit', 0), number(d, 'remaining', 0),
    number(d, 'retry_after', -1, 0), reset, number(d, 'delay', 0, 0), number(d, 'at', 0, now)}
end
