-- Sixteen requests at once on each connection, and the next sixteen after the last response.
dofile("bench/wrk/report.lua")

local DEPTH = 16
local batch

function init(args)
  local requests = {}
  for i = 1, DEPTH do
    requests[i] = wrk.format()
  end
  batch = table.concat(requests)
end

function request()
  return batch
end
