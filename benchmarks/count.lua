-- For wrk: sends the requests of all cookies in turn, and tells what came back. Behind a cookie, and
-- a tab, there may be a DPoP proof.
local requests, next_one = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    wrk.headers["Cookie"], wrk.headers["DPoP"] = line:match("([^\t]*)\t?(.*)")
    if wrk.headers["DPoP"] == "" then wrk.headers["DPoP"] = nil end
    requests[#requests + 1] = wrk.format("GET", wrk.path)
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function done(summary, latency, all)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\n{"answers": %d, "failed": %d}\n', summary.requests, failed))
end
