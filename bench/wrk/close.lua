-- A new connection for each request.
dofile("bench/wrk/report.lua")

wrk.headers["Connection"] = "close"
