-- Writes the next states of KEYS if all are still as they were read, and answers
-- with what is there now if not. ARGV[1] is followed, for each key, by what was
-- read, '=', 'set', 'unlink' or 'expire', the next state and how long to keep it in
-- milliseconds.
for i = 1, #KEYS do
  if (stored[i] or '') ~= ARGV[4 * i - 2] then
    return states()
  end
end
for i = 1, #KEYS do
  local what = ARGV[4 * i - 1]
  if what == 'set' then
    redis.call('SET', KEYS[i], ARGV[4 * i], 'PX', ARGV[4 * i + 1])
  elseif what == 'unlink' then
    redis.call('UNLINK', KEYS[i])
  elseif what == 'expire' then
    redis.call('PEXPIRE', KEYS[i], ARGV[4 * i + 1])
  end
end
return {}
