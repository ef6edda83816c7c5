-- The shortest request there is: wrk itself sends the Host field only.
dofile("bench/wrk/report.lua")
