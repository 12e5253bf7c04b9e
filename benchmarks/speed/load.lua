-- What wrk sends, from the environment: METHOD, TARGET ({id} becomes a random id up to IDS), HEADERS and BODY, of which
-- HEADERS is "Name: value" by the line. Prints one line of JSON with what it counted.
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

function init()
  math.randomseed(os.time())
  if not target:find("{id}", 1, true) then
    fixed = wrk.format(method, target, headers, body)
  end
end

function request()
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
