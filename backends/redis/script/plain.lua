-- Draws from buckets and windows' counts, one or a run on each key, in the usual
-- circumstances: the state is as the last such draw left it, the clock went
-- forward, and all products are small. The same numbers as below, without what
-- all else needs; whatever is unusual goes on below. Nothing is written before all
-- is decided.
if ARGV[4] ~= '' then
  local byte, call = string.byte, redis.call
  local UNTOUCHED = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
  local raws, count, plan, usual = call('MGET', unpack(KEYS)), #KEYS, false, true
  if count > 1 then
    plan = {}
  end
  local last, kind, limit, period, l, p, cost, cap, _
  local state, reset, least
  for i = 1, count do
    local times, spec = byte(ARGV[4], 2 * i - 1, 2 * i)
    if spec ~= last then
      last, kind, _, limit, period, l, p, cost, _, cap = spec, unpack_state('<ddddddddd', ARGV[2], spec * 96 - 95)
    end
    local raw, want, size = raws[i], cost * times, kind == 2 and 17 or 33
    state = false
    if raw and #raw ~= size then
      usual = false
      break
    end
    if kind == 1 then
      -- level is in units of 1/p.
      local level = 0
      if raw then
        local tag, t, n, r, was = unpack_state('<Bdddd', raw)
        local leaked = (now - t) * l
        level = n * p + r
        usual = tag == 76 and was == p and t >= 0 and t <= now and n >= 0 and r >= 0 and r < p and t % 1 + n % 1 + r % 1 == 0
          and level < MAX and leaked < MAX
        level = level > leaked and level - leaked or 0
      end
      if not usual or level + (want + 1) * p + l >= MAX then
        usual = false
        break
      end
      local r = level % p
      local n = (level - r) / p
      local room = cap - n - (r > 0 and 1 or 0)
      if cost <= room then
        local drawn = room > want and want or room - math.fmod(room, cost)
        level = level + drawn * p
        state = pack('<Bdddd', 76, now, n + drawn, r, p)
      end
      local rest = level % l
      reset = (level - rest) / l + (rest > 0 and 1 or 0)
    elseif kind == 2 then
      local start, n = now - now % period, 0
      if raw then
        local tag, t, count = unpack_state('<Bdd', raw)
        usual = tag == 70 and t >= 0 and t <= now and count > 0 and count <= MAX and t % 1 + count % 1 == 0
        n = t >= start and count or 0
      end
      if not usual or now + period >= MAX then -- where % is not exact
        usual = false
        break
      end
      local room = limit - n
      if cost <= room then
        n = n + (room > want and want or room - math.fmod(room, cost))
        state = pack('<Bdd', 70, now, n)
      end
      reset = n > 0 and start - now + period or 0
    else
      local start, n, before = now - now % period, 0, 0
      if raw then
        local tag, t, count, prev, was = unpack_state('<Bdddd', raw)
        usual = tag == 83 and was == period and t >= 0 and t <= now and count >= 0 and prev >= 0 and count + prev > 0
          and count <= MAX and prev <= MAX and t % 1 + count % 1 + prev % 1 == 0
        if t >= start then
          n, before = count, prev
        elseif t >= start - period then
          before = count
        end
      end
      if not usual or now + 2 * period >= MAX or (before + 1) * period >= MAX then
        usual = false
        break
      end
      local left = start - now + period
      local weight = before * left
      local over = weight % period
      local room = limit - n - (weight - over) / period - (over > 0 and 1 or 0)
      if cost <= room then
        n = n + (room > want and want or room - math.fmod(room, cost))
        state = pack('<Bdddd', 83, now, n, before, period)
      end
      reset = n > 0 and left + period or before > 0 and left or 0
    end
    least = period
    if not state and not raw then
      reset = false
    end
    if plan then
      plan[3 * i - 2], plan[3 * i - 1], plan[3 * i] = state, reset, least
    end
    if not raw then
      raws[i] = UNTOUCHED:sub(1, size)
    end
  end
  if usual then
    for i = 1, count do
      if plan then
        state, reset, least = plan[3 * i - 2], plan[3 * i - 1], plan[3 * i]
      end
      if state then
        call('SET', KEYS[i], state, 'PX', (reset - reset % 1000) / 1000 + 1 + spare)
      elseif reset then
        local left = call('PTTL', KEYS[i])
        if left == -1 or left * 1000 < reset then
          call('PEXPIRE', KEYS[i], math.ceil((left == -1 and reset < least and least or reset) / 1000) + spare)
        end
      end
    end
    return pack('<Bd', 83, now) .. (plan and table.concat(raws) or raws[1])
  end
end

