local families = {[1] = linear, [2] = fixed, [3] = sliding, [4] = log}

local keys, bytes = redis.call('MGET', unpack(KEYS)), 0
for i = 1, #KEYS do
  bytes = bytes + (keys[i] and #keys[i] or 0)
  keys[i] = {raw = keys[i], a = 0, b = 0, s = false, repaired = false, dirty = false, taken = false, reset = 0, least = 0}
end

-- Turns what was worked on into bytes again, to be read anew.
local function settle(k)
  local was = k.raw
  k.raw, k.dirty, k.keep = k.s.family.encode(k, k.s), false, k.reset
  k.write = k.write or k.raw or was
end

-- Makes k what its state says under the rate of s. Draws that differ only in
-- what they take go on with what is there.
local function ready(k, s)
  local was = k.s
  if was and was.kind == s.kind and was.period == s.period and was.l == s.l and was.p == s.p and was.x == s.x and s.kind < 100 then
    k.s, s.family, s.quantum = s, was.family, was.quantum
    return
  end
  if k.dirty then
    settle(k)
  end
  k.s, s.family = s, families[s.kind] or custom
  s.family.load(k, s)
end

local ops, total = {}, #ARGV[3] / 2
if total == 3 then
  ops[1], ops[2], ops[3] = unpack_state('<HHH', ARGV[3])
else
  for from = 1, total, 1000 do
    local part = {unpack_state('<' .. string.rep('H', min(1000, total - from + 1)), ARGV[3], from * 2 - 1)}
    for i = 1, #part - 1 do -- the last is where the reading ended
      ops[#ops + 1] = part[i]
    end
  end
end

-- Logs that were written under a higher limit than today's would hold up everybody
-- else: then each call goes alone.
local first = ops[1] % 32768
if bytes > 262144 and total > 1 + 2 * (first > 16384 and 1 or first) then
  return redis.error_reply('TOOLONG states of ' .. bytes .. ' bytes in one call of the script')
end

-- Draws of the same cost, as often as there is room, as one. Returned are the
-- numbers of the state before.
local function draw_run(k, s, times)
  local cost, room, state = s.cost, s.family.room(k, s), s.family.encode(k, s)
  if cost <= room then
    cost = room > cost * times and cost * times or room - fmod(room, cost)
  end
  s.family.decide(k, s, cost)
  if not state then
    return now, 0, 0, 1
  end
  local a, b, c, d = unpack_state(#state == 33 and '<dddd' or '<dd', state, 2)
  return a, b, c or 0, d or 0
end

local answers, n, pos = {now}, 1, 1
while pos <= total do
  local head, times = ops[pos], 1
  if head > 16384 and head < 32768 then -- a run
    head, times = 1, head - 16384
  end
  local first, last, peek = pos + 1, pos + 2 * (head % 32768), head >= 32768
  local stopped = false
  for i = first, last, 2 do
    local k, s = keys[ops[i]], specs[ops[i + 1]]
    if peek then -- works on a copy, which is dropped
      if k.dirty then
        settle(k)
      end
      k.s = false
      ready(k, s)
    else
      if k.s ~= s then
        ready(k, s)
      end
      if k.repaired then -- brought back by any Take, also one that is denied
        k.repaired, k.dirty = false, true
      end
      k.taken = true
    end
    if last > first + 1 and not s.advisory and not s.family.fits(k, s) then
      stopped = true
    end
  end
  -- All are drawn, or those that would have fitted are looked at.
  for i = first, last, 2 do
    local k, s = keys[ops[i]], specs[ops[i + 1]]
    local cost, dirty = s.cost, k.dirty
    k.dirty = false
    if stopped and s.family.fits(k, s) then
      cost = 0
    end
    if times > 1 then
      answers[n + 1], answers[n + 2], answers[n + 3], answers[n + 4] = draw_run(k, s, times)
      n = n + 4
    elseif s.kind >= 100 then
      answers[n + 1], answers[n + 2], answers[n + 3], answers[n + 4], answers[n + 5], answers[n + 6], answers[n + 7] = custom.decide(k, s, cost)
      n = n + 7
    else
      answers[n + 1], answers[n + 2], answers[n + 3], answers[n + 4] = s.family.decide(k, s, cost)
      n = n + 4
    end
    if peek then
      k.s, k.dirty = false, false
    elseif k.dirty then
      k.least = 0
    else -- what was written before is to stay as long as this rate asks for
      k.dirty, k.least = dirty, max(k.least, k.reset)
    end
  end
  pos = last + 1
end

-- Nothing was written so far, so that a command that Redis refuses leaves all as
-- it was.
for i = 1, #KEYS do
  local k = keys[i]
  if k.dirty then
    local state = k.s.family.encode(k, k.s)
    if state then
      redis.call('SET', KEYS[i], state, 'PX', ceil(max(k.reset, k.least) / 1000) + spare)
    elseif k.raw or k.write then
      redis.call('UNLINK', KEYS[i])
    end
  elseif k.write then
    if k.raw then
      redis.call('SET', KEYS[i], k.raw, 'PX', ceil(max(k.keep, k.least) / 1000) + spare)
    else
      redis.call('UNLINK', KEYS[i])
    end
  elseif k.taken and k.raw then
    -- It may have lost its expiry, or have one of a shorter rate.
    local left = redis.call('PTTL', KEYS[i])
    if left == -1 or left * 1000 < min(k.least, MAX / 2) then
      redis.call('PEXPIRE', KEYS[i], ceil(max(k.least, left == -1 and k.s and k.s.period or 0) / 1000) + spare)
    end
  end
end

if n == 5 then
  return pack('<Bddddd', 65, now, answers[2], answers[3], answers[4], answers[5])
end
local parts = {'A'}
for from = 1, n, 1000 do
  local to = min(from + 999, n)
  parts[#parts + 1] = pack('<' .. string.rep('d', to - from + 1), unpack(answers, from, to))
end
return table.concat(parts)
