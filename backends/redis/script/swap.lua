-- Writes what Go decided, all or nothing: only if all states are still as they were read.
--
-- KEYS  the keys, those that only must not change included
-- ARGV  for each key what was read, the command for it or '', the next state, and how long
--       to keep it, in milliseconds
--
-- The answer: 1 if it wrote, 0 if a state has changed.
for i = 1, #KEYS do
  if (stored[i] or '') ~= ARGV[4 * i - 3] then
    return 0
  end
end
for i = 1, #KEYS do
  local command, state, keep = ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]
  if command == 'SET' then
    redis.call('SET', KEYS[i], state, 'PX', keep)
  elseif command == 'UNLINK' then
    redis.call('UNLINK', KEYS[i])
  elseif command == 'PEXPIRE' then
    redis.call('PEXPIRE', KEYS[i], keep)
  end
end
return 1
