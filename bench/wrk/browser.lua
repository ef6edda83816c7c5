-- A browser's request: 12 header fields, about 650 bytes; path, Referer and Cookie differ from request to request.
--
-- The requests are made beforehand, since building one takes longer than sending it and the client has one core only.
-- There are more of them than a cache of whole values can sensibly hold; a fixed seed gives every server the same ones.
dofile("bench/wrk/report.lua")

local COUNT = 8191
local LETTERS = "0123456789abcdef"

local pool = {}
local position = 0

local function hex(length)
  local out = {}
  for i = 1, length do
    local at = math.random(#LETTERS)
    out[i] = LETTERS:sub(at, at)
  end
  return table.concat(out)
end

function init(args)
  math.randomseed(20)
  local host = wrk.host .. ":" .. wrk.port
  for i = 1, COUNT do
    pool[i] = table.concat({
      "GET /shop/item/" .. math.random(100000, 999999) .. "?page=" .. math.random(10, 99) .. "&ref=" .. hex(8)
        .. " HTTP/1.1",
      "Host: " .. host,
      "Connection: keep-alive",
      "Upgrade-Insecure-Requests: 1",
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        .. "Chrome/141.0.0.0 Safari/537.36",
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
      "Sec-Fetch-Site: same-origin",
      "Sec-Fetch-Mode: navigate",
      "Sec-Fetch-Dest: document",
      "Referer: http://" .. host .. "/shop/list/" .. math.random(100000, 999999),
      "Accept-Encoding: gzip, deflate, br, zstd",
      "Accept-Language: en-GB,en;q=0.9,de;q=0.7",
      "Cookie: session=" .. hex(32) .. "; theme=dark; seen=" .. math.random(100000, 999999),
      "", "",
    }, "\r\n")
  end
end

function request()
  position = position % COUNT + 1
  return pool[position]
end
