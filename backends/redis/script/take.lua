-- Reads all states, decides Take after Take on them, then writes what has changed.
--
-- A lone key is the usual case: it has no tables but states and keep.
local states = #KEYS > 1 and call('MGET', unpack(KEYS)) or call('MGET', KEYS[1])
local first, before = states[1], false -- the states as they were found
local bytes = first and #first or 0
if #KEYS > 1 then
  before = {first}
  for i = 2, #KEYS do
    local state = states[i]
    before[i] = state
    bytes = bytes + (state and #state or 0)
  end
end

local data, pos = ARGV[1], 1
local stop = #data -- where the draw specs in use begin: behind the Takes that are left
local keep = {false} -- for how long each key is kept; false if it was only peeked at
local told -- the decisions that the caller can't make
local last = 0 -- the draw spec in use

while pos < stop do
  local head, key, spec = read('<HHH', data, pos)
  local times, count, peek = 1, 1, false
  if head >= 32768 then
    count, peek = head - 32768, true
  elseif head > 16384 then
    times = head - 16384
  else
    count = head
  end
  -- Of several ops, all are decided first. If one is denied, those that fit are decided
  -- as looks then, else all are drawn.
  local denied, results = false, count > 1 and {}
  for pass = results and 1 or 2, 2 do
    for i = 1, count do
      if results then
        key, spec = read('<HH', data, pos + 4 * i - 2)
      end
      if spec ~= last then
        local at = #data - spec + 1
        last, kind, flags, cost, limit, period, l = spec, read('<HBdddd', data, at)
        if at < stop then
          stop = at
        end
        if cost < 0 or kind > 3 then
          taken, x, y, z, w, p = read('<dddddd', data, at + 35)
        end
      end
      local force, state, units = flags % 2 == 1, states[key], cost
      if denied and pass == 2 and results[i][1] then
        units = 0
      end
      -- Each kind sets: whether the draw fits; the next state, false to delete the key, nil
      -- to leave it; after how long the key resets; the decision if the caller can't make it.
      local fits, next, reset, decision = true, nil, 0, nil
      if kind == 1 then
        -- bucket.lua
      elseif kind == 2 then
        -- fixed.lua
      elseif kind == 3 then
        -- sliding.lua
      elseif pass == 2 and results and units == cost then
        fits, next, reset, decision = unpack(results[i], 1, 4)
      elseif kind == 4 then
        if not log then
          -- log.lua
        end
        fits, next, reset, decision = log(state, units, force)
      else
        fits, next, reset, decision = custom(state, units, force)
      end
      if pass == 1 then
        results[i] = {fits, next, reset, decision}
        denied = denied or not fits and flags % 4 < 2 -- 2 is advisory
      else
        if decision then
          told = told or {}
          told[#told + 1] = pack('<ddddddd', unpack(decision))
        end
        if not peek and next ~= nil then
          states[key], keep[key] = next, reset
        elseif not peek and reset > (keep[key] or -1) then
          keep[key] = reset
        end
      end
    end
  end
  pos = pos + 2 + 4 * count
  -- Logs written under a higher limit than today's would hold up everybody: then each Take
  -- goes alone. Only after the first Take is it known that more follow.
  if bytes > 262144 and pos < stop then
    return redis.error_reply('TOOLONG states of ' .. bytes .. ' bytes in one call of the script')
  end
end

-- Nothing was written so far: a command that Redis refuses leaves all as it was.
for i = 1, #KEYS do
  local state, was = states[i], first
  if before then
    was = before[i]
  end
  if not state and was then
    call('UNLINK', KEYS[i])
  elseif state ~= was then
    call('SET', KEYS[i], state, 'PX', string.format('%d', keep[i] / 1000 + spare))
  elseif state and keep[i] then
    -- It may have lost its expiry, or have one of a shorter rate.
    local left = call('PTTL', KEYS[i])
    if left == -1 or left * 1000 < math.min(keep[i], MAX / 2) then
      call('PEXPIRE', KEYS[i], string.format('%d', keep[i] / 1000 + spare))
    end
  end
end

-- Answers with the states that may be those of counts.
local answer
if before then
  local lengths = {}
  for i = 1, #KEYS do
    local length = before[i] and #before[i] or 0
    if length ~= 33 and length ~= 17 then
      before[i], length = '', 0
    end
    lengths[i] = length
  end
  answer = pack('<d', now) .. string.char(unpack(lengths)) .. table.concat(before)
elseif first and (#first == 33 or #first == 17) then
  answer = pack('<dBc0', now, #first, first)
else
  answer = pack('<dB', now, 0)
end
return told and answer .. table.concat(told) or answer
