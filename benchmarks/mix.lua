-- What clients send in a day, shuffled: reads, writes, logins, refreshes and mistakes. From the environment: TOKEN and
-- REFRESH_TOKENS (by the line) of sessions, PASSWORD of the users u1@example.com to USERS, POSTS, how many there are,
-- and PAUSE_MS, how long each client waits between two requests, give or take a half.
-- Prints one line of JSON: how many answers of each class of statuses, and what failed below HTTP.
local bearer, password = "Bearer " .. os.getenv("TOKEN"), os.getenv("PASSWORD")
local users, posts = tonumber(os.getenv("USERS")), tonumber(os.getenv("POSTS"))
local json = "application/json"
local signed_in = { ["Authorization"] = bearer }
local writing = { ["Authorization"] = bearer, ["Content-Type"] = json }
local API = "/api/v1"
-- Refresh tokens that are still good, first in, first out: each answer brings the next of its session.
local tokens, first, last = {}, 1, 0
counts = { 0, 0, 0, 0, 0 }
local threads = {}

local function keep(token)
  last = last + 1
  tokens[last] = token
end

local function get(path, headers)
  return wrk.format("GET", API .. path, headers)
end

local function send(method, path, body)
  return wrk.format(method, API .. path, writing, body)
end

local function post()
  return '{"title": "Title ' .. math.random(1, 1000000) .. '", "content": "' .. string.rep("Words. ", math.random(1, 200)) .. '"}'
end

local function refresh()
  if first > last then
    return get("/auth/me", signed_in)
  end
  local token = tokens[first]
  tokens[first] = nil
  first = first + 1
  return wrk.format("POST", API .. "/auth/refresh", { ["Content-Type"] = json }, '{"refresh_token": "' .. token .. '"}')
end

local mistakes = {
  function() return get("/posts/999999999") end,
  function() return get("/posts?limit=0&sort=nothing") end,
  function() return get("/auth/me", { ["Authorization"] = "Bearer no.token.atall" }) end,
  function() return send("POST", "/posts", '{"title": ') end,
  function() return send("POST", "/posts", '{"title": "", "unknown": [1, {"a": null}]}') end,
  function() return send("DELETE", "/posts") end,
  function() return get("/nowhere/" .. math.random(1, 1000000)) end,
}

-- What is sent, each with how often of a thousand times.
local kinds = {
  { 300, function() return get("/posts?limit=" .. math.random(1, 40)) end },
  { 200, function() return get("/posts/" .. math.random(1, posts)) end },
  { 100, function() return get("/posts", signed_in) end },
  { 60, function() return get("/users/" .. math.random(1, users), signed_in) end },
  { 60, function() return get("/auth/me", signed_in) end },
  { 60, function() return send("POST", "/posts", post()) end },
  { 100, refresh },
  { 8, function()
    return wrk.format("POST", API .. "/auth/login", { ["Content-Type"] = json }, string.format(
      '{"email": "u%d@example.com", "password": "%s"}', math.random(1, users), password))
  end },
  { 112, function() return mistakes[math.random(#mistakes)]() end },
}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  math.randomseed(os.time())
  for token in os.getenv("REFRESH_TOKENS"):gmatch("[^\n]+") do
    keep(token)
  end
end

function request()
  local number = math.random(1, 1000)
  for _, kind in ipairs(kinds) do
    number = number - kind[1]
    if number <= 0 then
      return kind[2]()
    end
  end
end

-- Only if it is asked for, since to call it takes time as well.
local pause = tonumber(os.getenv("PAUSE_MS") or "0")
if pause > 0 then
  function delay()
    return math.floor(pause * (0.5 + math.random()))
  end
end

function response(status, headers, body)
  local class = math.floor(status / 100)
  counts[class] = counts[class] + 1
  local token = body:match('"refresh_token":"([^"]+)"')
  if token then
    keep(token)
  end
end

function done(summary)
  local errors, seen = summary.errors, threads[1]:get("counts")
  io.write(string.format(
    'FIGURES {"requests": %d, "2xx": %d, "4xx": %d, "5xx": %d, "lost": %d}\n',
    summary.requests, seen[2], seen[4], seen[5], errors.connect + errors.read + errors.write + errors.timeout
  ))
end
