"""Requests that must be served, and what the application must see of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.corpus.make import Case


def http(start: str, *fields: str, body: bytes = b"", host: str | None = "example.com") -> bytes:
    """Return a request; `start` gets HTTP/1.1 unless it names a version, and a Host field."""
    line = start if " HTTP/" in start else f"{start} HTTP/1.1"
    head = [line, *([f"Host: {host}"] if host is not None else []), *fields]
    return "".join(f"{text}\r\n" for text in head).encode("latin-1") + b"\r\n" + body


def seen(
    method: str = "GET",
    path: str = "/",
    query: str = "",
    *,
    body: str = "",
    absent: tuple[str, ...] = (),
    **environ: str,
) -> dict[str, Any]:
    """Return what the application sees of one request."""
    found: dict[str, Any] = {
        "method": method,
        "environ": {"PATH_INFO": path, "QUERY_STRING": query, "SCRIPT_NAME": "", **environ},
        "body": body,
    }
    if absent:
        found["absent"] = list(absent)
    return found


def with_key(key: str, value: str) -> dict[str, Any]:
    """Return what is seen of a plain GET with an environ key that is no Python identifier."""
    found = seen()
    found["environ"][key] = value
    return found


VALID: list[Case] = []


def valid(name: str, rfc: str, raw: bytes, *requests: dict[str, Any], after: str = "open") -> None:
    VALID.append((name, raw, {"rfc": rfc, "requests": list(requests), "after": after}))


CHUNKED = "Transfer-Encoding: chunked"
NO_BODY_KEYS = ("CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE")

# --- request lines and targets ---------------------------------------------------------------------
valid(
    "get",
    "RFC 9112 §3",
    http("GET /"),
    seen(HTTP_HOST="example.com", SERVER_PROTOCOL="HTTP/1.1", RAW_URI="/", absent=NO_BODY_KEYS),
)
for verb in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
    valid(
        f"method-{verb.lower()}", "RFC 9110 §9.3", http(f"{verb} /m", "Content-Length: 0"), seen(verb, "/m")
    )
for verb in ("PROPFIND", "MKCOL", "REPORT", "PURGE", "LINK"):
    valid(f"method-{verb.lower()}", "RFC 9110 §9.1", http(f"{verb} /dav"), seen(verb, "/dav"))
valid(
    "query",
    "RFC 9112 §3.2.1",
    http("GET /s?q=a%20b&c=+"),
    seen("GET", "/s", "q=a%20b&c=+", RAW_URI="/s?q=a%20b&c=+"),
)
valid("query-empty", "RFC 9112 §3.2.1", http("GET /s?"), seen("GET", "/s", "", RAW_URI="/s?"))
valid("query-question-marks", "RFC 3986 §3.4", http("GET /s?a=?&b=/?"), seen("GET", "/s", "a=?&b=/?"))
valid(
    "percent",
    "RFC 3986 §2.1",
    http("GET /a%20b/%7Euser"),
    seen("GET", "/a b/~user", RAW_URI="/a%20b/%7Euser"),
)
valid("percent-lower-case", "RFC 3986 §2.1", http("GET /%c3%a9"), seen("GET", "/Ã©"))
valid("percent-utf8", "RFC 3986 §2.5", http("GET /%E2%82%AC"), seen("GET", "/â\x82¬"))
valid("percent-slash", "RFC 3986 §2.2", http("GET /a%2Fb"), seen("GET", "/a/b", RAW_URI="/a%2Fb"))
valid("percent-nul", "RFC 3986 §2.1", http("GET /a%00b"), seen("GET", "/a\0b"))
valid("percent-overlong", "RFC 3986 §2.1", http("GET /%C0%AE%C0%AE/x"), seen("GET", "/À®À®/x"))
valid("percent-crlf", "RFC 3986 §2.1", http("GET /a%0D%0Ab"), seen("GET", "/a\r\nb"))
valid("percent-broken", "RFC 3986 §2.1", http("GET /a%zz/b%4"), seen("GET", "/a%zz/b%4"))
valid("percent-twice", "RFC 3986 §2.4", http("GET /%2541"), seen("GET", "/%41"))
valid("percent-question-mark", "RFC 3986 §2.2", http("GET /a%3Fb?c"), seen("GET", "/a?b", "c"))
valid("dot-segments-kept", "RFC 3986 §5.2.4", http("GET /a/../b/./c"), seen("GET", "/a/../b/./c"))
valid("double-slash", "RFC 3986 §3.3", http("GET //a//b"), seen("GET", "//a//b", RAW_URI="//a//b"))
valid("sub-delims", "RFC 3986 §2.2", http("GET /!$&'()*+,;=:@-._~"), seen("GET", "/!$&'()*+,;=:@-._~"))
valid("backslash", "RFC 9112 §3.2.1", http("GET /a\\b"), seen("GET", "/a\\b"))
valid("not-quite-uri", "RFC 9112 §3.2.1", http('GET /[x]{y}|"z"^`<>'), seen("GET", '/[x]{y}|"z"^`<>'))
valid("long-target", "RFC 9112 §3", http("GET /" + "a" * 4000), seen("GET", "/" + "a" * 4000))
valid("long-query", "RFC 9112 §3", http("GET /?" + "q=1&" * 900), seen("GET", "/", "q=1&" * 900))
valid(
    "absolute-form",
    "RFC 9112 §3.2.2",
    http("GET http://www.example.org/pub?x=1", host="other"),
    seen("GET", "/pub", "x=1", HTTP_HOST="www.example.org"),
)
valid(
    "absolute-form-port",
    "RFC 9112 §3.2.2",
    http("GET http://example.org:8080/"),
    seen(HTTP_HOST="example.org:8080"),
)
valid(
    "absolute-form-no-path",
    "RFC 9112 §3.2.1",
    http("GET http://example.org"),
    seen(HTTP_HOST="example.org"),
)
valid(
    "absolute-form-upper-case-scheme",
    "RFC 3986 §3.1",
    http("GET HTTP://example.org/x"),
    seen("GET", "/x", HTTP_HOST="example.org"),
)
valid(
    "absolute-form-query-no-path",
    "RFC 9112 §3.2.1",
    http("GET http://example.org?a=b"),
    seen("GET", "/", "a=b", HTTP_HOST="example.org"),
)
valid(
    "asterisk-form",
    "RFC 9112 §3.2.4",
    http("OPTIONS *"),
    {"method": "OPTIONS", "environ": {"RAW_URI": "*"}, "body": ""},
)

# --- versions and persistence ------------------------------------------------------------------------
valid("http10", "RFC 9112 §9.3", http("GET / HTTP/1.0"), seen(SERVER_PROTOCOL="HTTP/1.0"), after="close")
valid(
    "http10-no-host",
    "RFC 9112 §3.2",
    http("GET / HTTP/1.0", host=None),
    seen(absent=("HTTP_HOST",)),
    after="close",
)
valid("http10-keep-alive", "RFC 9112 §9.3", http("GET / HTTP/1.0", "Connection: keep-alive"), seen())
valid("http10-keep-alive-case", "RFC 9110 §7.6.1", http("GET / HTTP/1.0", "connection: Keep-Alive"), seen())
valid("http10-close", "RFC 9112 §9.3", http("GET / HTTP/1.0", "Connection: close"), seen(), after="close")
valid(
    "http10-post",
    "RFC 9112 §6.3",
    http("POST / HTTP/1.0", "Content-Length: 3", body=b"abc"),
    seen("POST", body="abc", CONTENT_LENGTH="3"),
    after="close",
)
valid("http12-as-11", "RFC 9110 §2.5", http("GET / HTTP/1.2"), seen(absent=()))
valid("http19-as-11", "RFC 9110 §2.5", http("GET / HTTP/1.9"), seen())
valid("close", "RFC 9112 §9.6", http("GET /", "Connection: close"), seen(), after="close")
valid("close-case", "RFC 9110 §7.6.1", http("GET /", "CONNECTION: CLOSE"), seen(), after="close")
valid(
    "close-in-list",
    "RFC 9110 §7.6.1",
    http("GET /", "Connection: x-foo ,close", "X-Foo: 1"),
    seen(),
    after="close",
)
valid(
    "close-second-field",
    "RFC 9110 §7.6.1",
    http("GET /", "Connection: x", "Connection: close"),
    seen(),
    after="close",
)
valid(
    "close-over-keep-alive",
    "RFC 9112 §9.3",
    http("GET /", "Connection: keep-alive, close"),
    seen(),
    after="close",
)
valid("keep-alive-11", "RFC 9112 §9.3", http("GET /", "Connection: keep-alive"), seen())
valid("connection-unclose", "RFC 9110 §7.6.1", http("GET /", "Connection: unclosed"), seen())
valid("leading-crlf", "RFC 9112 §2.2", b"\r\n" + http("GET /"), seen())

# --- fields ------------------------------------------------------------------------------------------
valid("field-empty-value", "RFC 9110 §5.5", http("GET /", "X-Empty:"), seen(HTTP_X_EMPTY=""))
valid("field-spaces-only", "RFC 9110 §5.5", http("GET /", "X-Empty: \t  "), seen(HTTP_X_EMPTY=""))
valid("field-no-space", "RFC 9112 §5.1", http("GET /", "X-A:1"), seen(HTTP_X_A="1"))
valid("field-outer-space", "RFC 9112 §5.1", http("GET /", "X-A: \t a b\t \t"), seen(HTTP_X_A="a b"))
valid("field-inner-tab", "RFC 9110 §5.5", http("GET /", "X-A: a\tb  c"), seen(HTTP_X_A="a\tb  c"))
valid("field-latin1", "RFC 9110 §5.5", http("GET /", "X-A: caf\xe9 \xff"), seen(HTTP_X_A="caf\xe9 \xff"))
valid("field-utf8", "RFC 9110 §5.5", http("GET /", "X-A: \xc3\xa9"), seen(HTTP_X_A="\xc3\xa9"))
valid(
    "field-nel-not-stripped",
    "RFC 9110 §5.6.3",
    http("GET /", "X-A: \x85\xa0v\xa0\x85"),
    seen(HTTP_X_A="\x85\xa0v\xa0\x85"),
)
valid("field-colons", "RFC 9110 §5.5", http("GET /", "X-A: :a:b:"), seen(HTTP_X_A=":a:b:"))
valid(
    "field-token-characters",
    "RFC 9110 §5.6.2",
    http("GET /", "x!#$%&'*+-.^`|~9: v"),
    with_key("HTTP_X!#$%&'*+_.^`|~9", "v"),
)
valid(
    "field-case",
    "RFC 9110 §5.1",
    http("GET /", "x-MiXeD: v", "hOsT-x: w"),
    seen(HTTP_X_MIXED="v", HTTP_HOST_X="w"),
)
valid(
    "field-repeated",
    "RFC 9110 §5.3",
    http("GET /", "X-A: 1", "X-B: z", "x-a: 2", "X-A:"),
    seen(HTTP_X_A="1, 2, ", HTTP_X_B="z"),
)
valid(
    "cookie-repeated",
    "RFC 6265 §4.2.1",
    http("GET /", "Cookie: a=1", "Cookie: b=2"),
    seen(HTTP_COOKIE="a=1; b=2"),
)
valid(
    "underscore-dropped",
    "RFC 9110 §16.3.2.1",
    http("GET /", "X_A: evil", "X-A: good", "X_B: evil", "Content_Length: 5"),
    seen(HTTP_X_A="good", absent=("HTTP_X_B", "HTTP_CONTENT_LENGTH", "CONTENT_LENGTH")),
)
valid(
    "httpoxy",
    "RFC 3875 §4.1.18",
    http("GET /", "Proxy: http://evil/", "X-A: 1"),
    seen(HTTP_X_A="1", absent=("HTTP_PROXY",)),
)
valid(
    "content-type",
    "RFC 9110 §8.3",
    http("POST /", "Content-Type: text/plain; charset=utf-8", "Content-Length: 2", body=b"ok"),
    seen(
        "POST",
        body="ok",
        CONTENT_TYPE="text/plain; charset=utf-8",
        CONTENT_LENGTH="2",
        absent=NO_BODY_KEYS[2:],
    ),
)
valid(
    "forwarded-stay-plain",
    "RFC 7239 §8.1",
    http("GET /", "X-Forwarded-For: 1.2.3.4", "X-Script: /a"),
    seen(HTTP_X_FORWARDED_FOR="1.2.3.4"),
)
valid("many-fields", "RFC 6585 §5", http("GET /", *[f"X-{n}: {n}" for n in range(99)]), seen(HTTP_X_98="98"))
valid("big-field", "RFC 6585 §5", http("GET /", "X-Big: " + "b" * 8000), seen(HTTP_X_BIG="b" * 8000))
valid(
    "host-port", "RFC 9110 §7.2", http("GET /", host="example.com:8080"), seen(HTTP_HOST="example.com:8080")
)
valid("host-ipv4", "RFC 9110 §7.2", http("GET /", host="127.0.0.1:80"), seen(HTTP_HOST="127.0.0.1:80"))
valid("host-ipv6", "RFC 3986 §3.2.2", http("GET /", host="[::1]:8000"), seen(HTTP_HOST="[::1]:8000"))
valid("host-underscore", "RFC 3986 §3.2.2", http("GET /", host="my_service"), seen(HTTP_HOST="my_service"))
valid("host-percent", "RFC 3986 §3.2.2", http("GET /", host="ex%41mple"), seen(HTTP_HOST="ex%41mple"))
valid(
    "host-upper-case", "RFC 9110 §4.2.3", http("GET /", host="EXAMPLE.com."), seen(HTTP_HOST="EXAMPLE.com.")
)
valid(
    "host-last", "RFC 9110 §7.2", http("GET /", "X-A: 1", "Host: later", host=None), seen(HTTP_HOST="later")
)
valid("upgrade-without-connection", "RFC 9110 §7.8", http("GET /", "Upgrade: h2c"), seen(HTTP_UPGRADE="h2c"))

# --- bodies with a length ----------------------------------------------------------------------------
valid(
    "length",
    "RFC 9112 §6.3",
    http("POST /p", "Content-Length: 5", body=b"hello"),
    seen("POST", "/p", body="hello", CONTENT_LENGTH="5"),
)
valid("length-zero", "RFC 9112 §6.3", http("POST /", "Content-Length: 0"), seen("POST"))
valid(
    "length-leading-zeros",
    "RFC 9110 §8.6",
    http("POST /", "Content-Length: 0005", body=b"hello"),
    seen("POST", body="hello"),
)
valid(
    "length-spaces",
    "RFC 9112 §5.1",
    http("POST /", "Content-Length: \t5 ", body=b"hello"),
    seen("POST", body="hello", CONTENT_LENGTH="5"),
)
valid("length-missing", "RFC 9112 §6.3", http("POST /"), seen("POST", absent=("CONTENT_LENGTH",)))
valid(
    "length-binary",
    "RFC 9112 §6.3",
    http("PUT /", "Content-Length: 256", body=bytes(range(256))),
    seen("PUT", body=bytes(range(256)).decode("latin-1")),
)
valid(
    "length-get", "RFC 9110 §9.3.1", http("GET /", "Content-Length: 3", body=b"abc"), seen("GET", body="abc")
)
valid(
    "length-delete",
    "RFC 9110 §9.3.5",
    http("DELETE /", "Content-Length: 3", body=b"abc"),
    seen("DELETE", body="abc"),
)
valid(
    "length-10k",
    "RFC 9112 §6.3",
    http("POST /", "Content-Length: 10240", body=b"0123456789abcdef" * 640),
    seen("POST", body="0123456789abcdef" * 640),
)
valid(
    "body-like-a-request",
    "RFC 9112 §6.3",
    http("POST /1", "Content-Length: 37", body=b"GET /evil HTTP/1.1\r\nHost: example\r\n\r\n")
    + http("GET /2"),
    seen("POST", "/1", body="GET /evil HTTP/1.1\r\nHost: example\r\n\r\n"),
    seen("GET", "/2"),
)
valid(
    "expect-continue-with-body",
    "RFC 9110 §10.1.1",
    http("POST /", "Expect: 100-continue", "Content-Length: 2", body=b"hi"),
    seen("POST", body="hi"),
)
valid(
    "expect-case",
    "RFC 9110 §10.1.1",
    http("POST /", "Expect: 100-Continue", "Content-Length: 2", body=b"hi"),
    seen("POST", body="hi"),
)
valid("expect-no-body", "RFC 9110 §10.1.1", http("GET /", "Expect: 100-continue"), seen())
valid(
    "expect-http10",
    "RFC 9110 §10.1.1",
    http("POST / HTTP/1.0", "Expect: 100-continue", "Content-Length: 2", body=b"hi"),
    seen("POST", body="hi"),
    after="close",
)


# --- chunked bodies ----------------------------------------------------------------------------------
def chunked(
    name: str, rfc: str, body: bytes, seen_body: str, *fields: str, coding: str = CHUNKED, **more: Any
) -> None:
    valid(
        f"chunked-{name}",
        rfc,
        http("POST /c", coding, *fields, body=body),
        seen("POST", "/c", body=seen_body, CONTENT_LENGTH=str(len(seen_body)), **more),
    )


chunked("one", "RFC 9112 §7.1", b"5\r\nhello\r\n0\r\n\r\n", "hello")
chunked("several", "RFC 9112 §7.1", b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef")
chunked("empty", "RFC 9112 §7.1", b"0\r\n\r\n", "")
chunked(
    "hex-cases", "RFC 9112 §7.1", b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a"
)
chunked("leading-zeros", "RFC 9112 §7.1", b"0005\r\nhello\r\n000\r\n\r\n", "hello")
chunked("extension", "RFC 9112 §7.1.1", b"5;name=value\r\nhello\r\n0;last\r\n\r\n", "hello")
chunked("extension-quoted", "RFC 9112 §7.1.1", b'5;n="a;b c"\r\nhello\r\n0\r\n\r\n', "hello")
chunked("extensions", "RFC 9112 §7.1.1", b"5;a;b=c;d\r\nhello\r\n0\r\n\r\n", "hello")
chunked(
    "trailer",
    "RFC 9112 §7.1.2",
    b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
    "hello",
    absent=("HTTP_X_SUM", "HTTP_X_OTHER"),
)
chunked(
    "trailer-forbidden",
    "RFC 9110 §6.5.1",
    b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil\r\nAuthorization: x\r\n\r\n",
    "hello",
    HTTP_HOST="example.com",
    absent=("HTTP_AUTHORIZATION",),
)
chunked("coding-case", "RFC 9112 §7", b"2\r\nok\r\n0\r\n\r\n", "ok", coding="transfer-encoding: CHUNKED")
chunked("coding-spaces", "RFC 9112 §7", b"2\r\nok\r\n0\r\n\r\n", "ok", coding="Transfer-Encoding: \tchunked ")
chunked("crlf-in-data", "RFC 9112 §7.1", b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n")
chunked(
    "binary",
    "RFC 9112 §7.1",
    b"100\r\n" + bytes(range(256)) + b"\r\n0\r\n\r\n",
    bytes(range(256)).decode("latin-1"),
)
chunked("64k", "RFC 9112 §7.1", b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n", "x" * 65536)
chunked("expect", "RFC 9110 §10.1.1", b"2\r\nok\r\n0\r\n\r\n", "ok", "Expect: 100-continue")
valid(
    "chunked-get",
    "RFC 9112 §6.1",
    http("GET /", CHUNKED, body=b"1\r\nx\r\n0\r\n\r\n"),
    seen("GET", "/", body="x", CONTENT_LENGTH="1"),
)

# --- pipelining --------------------------------------------------------------------------------------
valid(
    "pipeline-3",
    "RFC 9112 §9.3.2",
    http("GET /1") + http("GET /2") + http("GET /3"),
    seen("GET", "/1"),
    seen("GET", "/2"),
    seen("GET", "/3"),
)
valid(
    "pipeline-20",
    "RFC 9112 §9.3.2",
    b"".join(http(f"GET /{n}") for n in range(20)),
    *[seen("GET", f"/{n}") for n in range(20)],
)
valid(
    "pipeline-bodies",
    "RFC 9112 §9.3.2",
    http("POST /1", "Content-Length: 3", body=b"abc")
    + http("POST /2", CHUNKED, body=b"2\r\nde\r\n0\r\n\r\n")
    + http("GET /3"),
    seen("POST", "/1", body="abc"),
    seen("POST", "/2", body="de"),
    seen("GET", "/3", absent=("CONTENT_LENGTH",)),
)
valid(
    "pipeline-close-in-the-middle",
    "RFC 9112 §9.6",
    http("GET /1") + http("GET /2", "Connection: close") + http("GET /evil"),
    seen("GET", "/1"),
    seen("GET", "/2"),
    after="close",
)
valid(
    "pipeline-after-close-garbage",
    "RFC 9112 §9.6",
    http("GET /1", "Connection: close") + b"\x00\xff garbage\r\n\r\n",
    seen("GET", "/1"),
    after="close",
)
valid(
    "pipeline-http10",
    "RFC 9112 §9.3",
    http("GET /1 HTTP/1.0") + http("GET /evil"),
    seen("GET", "/1"),
    after="close",
)
valid(
    "pipeline-mixed-versions",
    "RFC 9112 §9.3",
    http("GET /1") + http("GET /2 HTTP/1.0", "Connection: keep-alive") + http("GET /3"),
    seen("GET", "/1"),
    seen("GET", "/2"),
    seen("GET", "/3"),
)
valid(
    "pipeline-crlf-between",
    "RFC 9112 §2.2",
    http("POST /1", "Content-Length: 2", body=b"ab") + b"\r\n" + http("GET /2"),
    seen("POST", "/1", body="ab"),
    seen("GET", "/2"),
)
valid(
    "pipeline-no-state-kept",
    "RFC 9112 §9.3.2",
    http("GET /1", "X-A: 1", "Cookie: c=1", host="one") + http("GET /2", host="two"),
    seen("GET", "/1", HTTP_HOST="one"),
    seen("GET", "/2", HTTP_HOST="two", absent=("HTTP_X_A", "HTTP_COOKIE")),
)
valid(
    "pipeline-head",
    "RFC 9110 §9.3.2",
    http("HEAD /1") + http("GET /2"),
    seen("HEAD", "/1"),
    seen("GET", "/2"),
)

# --- peers' real requests ----------------------------------------------------------------------------
valid(
    "curl",
    "RFC 9112 §3",
    http("GET /x", "User-Agent: curl/8.5.0", "Accept: */*", host="127.0.0.1:8000"),
    seen("GET", "/x", HTTP_USER_AGENT="curl/8.5.0", HTTP_ACCEPT="*/*"),
)
valid(
    "curl-form",
    "RFC 9112 §3",
    http(
        "POST /f",
        "User-Agent: curl/8.5.0",
        "Accept: */*",
        "Content-Length: 13",
        "Content-Type: application/x-www-form-urlencoded",
        body=b"name=a&b=%20c",
    ),
    seen("POST", "/f", body="name=a&b=%20c", CONTENT_TYPE="application/x-www-form-urlencoded"),
)
valid(
    "chrome",
    "RFC 9112 §3",
    http(
        "GET /index.html?from=1",
        "Connection: keep-alive",
        "Cache-Control: max-age=0",
        'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
        "sec-ch-ua-mobile: ?0",
        'sec-ch-ua-platform: "Linux"',
        "Upgrade-Insecure-Requests: 1",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-User: ?1",
        "Sec-Fetch-Dest: document",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
        "Cookie: sessionid=38afes7a8; csrftoken=u32t4o3tb3gg43; _ga=GA1.1.1",
        host="localhost:8000",
    ),
    seen(
        "GET",
        "/index.html",
        "from=1",
        HTTP_SEC_CH_UA_MOBILE="?0",
        HTTP_SEC_FETCH_USER="?1",
        HTTP_COOKIE="sessionid=38afes7a8; csrftoken=u32t4o3tb3gg43; _ga=GA1.1.1",
    ),
)
valid(
    "firefox",
    "RFC 9112 §3",
    http(
        "GET /",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Language: en-US,en;q=0.5",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "DNT: 1",
        "Sec-GPC: 1",
        "Connection: keep-alive",
        "Upgrade-Insecure-Requests: 1",
        "Sec-Fetch-Dest: document",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Site: none",
        "Priority: u=0, i",
    ),
    seen(HTTP_DNT="1", HTTP_PRIORITY="u=0, i", HTTP_UPGRADE_INSECURE_REQUESTS="1"),
)
valid(
    "safari",
    "RFC 9112 §3",
    http(
        "GET /",
        "Upgrade-Insecure-Requests: 1",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
        "Accept-Language: en-GB,en;q=0.9",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
    ),
    seen(HTTP_ACCEPT_ENCODING="gzip, deflate"),
)
MULTIPART = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--XX--\r\n'
valid(
    "browser-upload",
    "RFC 7578 §4",
    http(
        "POST /up",
        "Origin: http://localhost",
        "Content-Type: multipart/form-data; boundary=XX",
        f"Content-Length: {len(MULTIPART)}",
        body=MULTIPART,
    ),
    seen(
        "POST",
        "/up",
        body=MULTIPART.decode(),
        CONTENT_TYPE="multipart/form-data; boundary=XX",
        HTTP_ORIGIN="http://localhost",
    ),
)
valid(
    "ab",
    "RFC 9112 §9.3",
    http("GET / HTTP/1.0", "User-Agent: ApacheBench/2.3", "Accept: */*", host="127.0.0.1:8000"),
    seen(HTTP_USER_AGENT="ApacheBench/2.3"),
    after="close",
)
valid(
    "ab-k",
    "RFC 9112 §9.3",
    http(
        "GET / HTTP/1.0",
        "Connection: Keep-Alive",
        "Host: 127.0.0.1:8000",
        "User-Agent: ApacheBench/2.3",
        host=None,
    ),
    seen(),
)
valid("wrk", "RFC 9112 §3", http("GET /", host="127.0.0.1:8000"), seen())
valid(
    "elb-health",
    "RFC 9112 §3",
    http(
        "GET /health",
        "Connection: close",
        "User-Agent: ELB-HealthChecker/2.0",
        "Accept-Encoding: gzip, compressed",
        host="10.0.0.1:80",
    ),
    seen("GET", "/health"),
    after="close",
)
valid(
    "kube-probe",
    "RFC 9112 §3",
    http(
        "GET /ready", "User-Agent: kube-probe/1.30", "Accept: */*", "Connection: close", host="10.1.2.3:8000"
    ),
    seen("GET", "/ready"),
    after="close",
)
valid("haproxy-check", "RFC 9112 §3", b"OPTIONS / HTTP/1.0\r\n\r\n", seen("OPTIONS"), after="close")
valid(
    "haproxy-forwarded",
    "RFC 9112 §3",
    http("GET /", "x-forwarded-for: 192.0.2.1", "x-forwarded-proto: https"),
    seen(HTTP_X_FORWARDED_FOR="192.0.2.1"),
)
valid(
    "nginx-proxied",
    "RFC 9112 §9.3",
    http(
        "POST /api HTTP/1.0",
        "X-Real-IP: 192.0.2.1",
        "Connection: close",
        "Content-Length: 2",
        "Content-Type: application/json",
        body=b"{}",
        host="backend",
    ),
    seen("POST", "/api", body="{}", HTTP_X_REAL_IP="192.0.2.1", HTTP_HOST="backend"),
    after="close",
)
valid(
    "python-requests",
    "RFC 9112 §3",
    http(
        "GET /a?b=c%20d",
        "User-Agent: python-requests/2.32.3",
        "Accept-Encoding: gzip, deflate",
        "Accept: */*",
        "Connection: keep-alive",
    ),
    seen("GET", "/a", "b=c%20d"),
)
valid(
    "go-client",
    "RFC 9112 §7.1",
    http(
        "POST /",
        "User-Agent: Go-http-client/1.1",
        CHUNKED,
        "Accept-Encoding: gzip",
        body=b"4\r\ndata\r\n0\r\n\r\n",
    ),
    seen("POST", body="data", CONTENT_LENGTH="4"),
)
