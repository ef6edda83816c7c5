-- A form of 10 KB, which the application reads whole.
dofile("bench/wrk/report.lua")

wrk.method = "POST"
wrk.body = string.rep("0123456789abcdef", 640)
wrk.headers["Content-Type"] = "application/octet-stream"
