-- What wrk sends, from the environment: METHOD, TARGET ({id} becomes a random id up to IDS), HEADERS and BODY, of which
-- HEADERS is "Name: value" by the line. With TOKENS, refresh tokens by the line, {token} in the body is one that is still
-- good: each answer brings the next of its session. Prints one line of JSON with what it counted.
local method, target, body = os.getenv("METHOD"), os.getenv("TARGET"), os.getenv("BODY")
local ids = tonumber(os.getenv("IDS"))
local headers = {}
for name, value in os.getenv("HEADERS"):gmatch("([^:\n]+): ([^\n]*)") do
  headers[name] = value
end
if body == "" then
  body = nil
end
local fixed
-- First in, first out.
local tokens, first, last = {}, 1, 0

local function keep(token)
  last = last + 1
  tokens[last] = token
end

for token in os.getenv("TOKENS"):gmatch("[^\n]+") do
  keep(token)
end

function init()
  math.randomseed(os.time())
  if last == 0 and not target:find("{id}", 1, true) then
    fixed = wrk.format(method, target, headers, body)
  end
end

if last > 0 then
  function response(status, headers, answer)
    local token = answer:match('"refresh_token":"([^"]+)"')
    if token then
      keep(token)
    end
  end
end

local function refresh()
  -- Without one, the refusal shows in the figures.
  local token = tokens[first]
  if token then
    tokens[first] = nil
    first = first + 1
  end
  return wrk.format(method, target, headers, (body:gsub("{token}", token or "none")))
end

function request()
  if last > 0 then
    return refresh()
  end
  return fixed or wrk.format(method, (target:gsub("{id}", math.random(1, ids))), headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'FIGURES {"requests": %d, "microseconds": %d, "failed": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
