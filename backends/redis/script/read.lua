-- Reads what Go is to decide.
--
-- The answer: the instant as text, and for each of KEYS its state and for how many
-- milliseconds it will be kept, -1 without an end.
local t = redis.call('TIME')
local answer = {string.format('%.0f', t[1] * 1000000 + t[2])}
for i = 1, #KEYS do
  answer[2 * i] = stored[i]
  answer[2 * i + 1] = stored[i] and redis.call('PTTL', KEYS[i]) or 0
end
return answer
