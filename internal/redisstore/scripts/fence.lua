-- Reads the registry of holders, and then sends a marker to the link of each holder. Each holder has a single link,
-- unless this is a Cluster; there no marker is sent.
--
-- KEYS[1]  the registry
-- ARGV[1]  what the channel of a link begins with
-- ARGV[2]  the marker; "" for none
-- ARGV[3]  the holder that asks, which gets a marker even if it is not in the registry
-- ARGV[4]  the number of its link
--
-- Returns {identity of the registry or "", the server's history, and for each holder: its name, its note, the number of
-- receivers}. Only the subscribers of this very server are counted. What is passed on to those of another one may
-- overtake events there.
beginWrite(KEYS[1])
local function mark(name, number)
  if ARGV[2] == '' then
    return 0
  end
  return deliver(ARGV[1] .. name .. ':' .. number, ARGV[2])
end

local answer, fields, asked = {'', history()}, redis.call('HGETALL', KEYS[1]), false
for i = 1, #fields, 2 do
  local name, note = fields[i], fields[i + 1]
  if name == '!' then
    answer[1] = note
  else
    asked = asked or name == ARGV[3]
    answer[#answer + 1] = name
    answer[#answer + 1] = note
    answer[#answer + 1] = mark(name, string.match(note, '^%d+ %d+ (%w+)') or '')
  end
end
if ARGV[2] ~= '' and not asked then
  answer[#answer + 1] = ARGV[3]
  answer[#answer + 1] = ''
  answer[#answer + 1] = mark(ARGV[3], ARGV[4])
end
return answer
