"""The words of HTTP/1.1 (RFC 9110, RFC 9112): grammar, status lines, field names with a meaning."""

from __future__ import annotations

import re
from typing import Final

# --- requests --------------------------------------------------------------------------------------------

TOKEN_CHARS: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""RFC 9110 §5.6.2: tchar."""

TARGET_CHARS: Final = bytes(range(0x21, 0x7F)).replace(b"#", b"")
"""What may stand in a request target: visible ASCII, without the fragment (RFC 9112 §3.2)."""

_TOKEN: Final = b"[" + re.escape(TOKEN_CHARS) + b"]+"
_VALUE: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]*"

REQUEST_LINE: Final = re.compile(b"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
"""RFC 9112 §3: method, target, major and minor version, with one space between them."""

FIELD_LINE: Final = re.compile(b"(" + _TOKEN + b"):(" + _VALUE + b")")
"""RFC 9112 §5: name and value of a field; nothing between name and colon, no folding."""

ABSOLUTE_FORM: Final = re.compile(rb"https?://([^/?]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
"""RFC 9112 §3.2.2: authority, path, query with its question mark."""

HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[\w.~!$&'()*+;=:-]+\])"
    rb"(?::[0-9]*)?",
)
"""RFC 9110 §7.2: uri-host [":" port]. Without the comma of sub-delims, which a list of two would show."""

LENGTH: Final = re.compile(rb"[0-9]{1,19}|0[0-9]+")
MAX_LENGTH: Final = 2**63 - 1
"""RFC 9110 §8.6: 1*DIGIT; what does not fit 63 bits would be taken differently by others."""

_COMMON_FIELDS: Final = """
    accept accept-charset accept-encoding accept-language access-control-request-headers
    access-control-request-method authorization baggage cache-control cdn-loop cf-connecting-ip cf-ray
    cf-visitor connection content-disposition content-encoding content-language content-md5 cookie date dnt
    downlink early-data ect expect forwarded from host if-match if-modified-since if-none-match if-range
    if-unmodified-since keep-alive max-forwards origin pragma priority purpose range referer rtt save-data
    sec-ch-ua sec-ch-ua-arch sec-ch-ua-mobile sec-ch-ua-model sec-ch-ua-platform sec-fetch-dest
    sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc sec-purpose sec-websocket-extensions
    sec-websocket-key sec-websocket-protocol sec-websocket-version te traceparent tracestate true-client-ip
    upgrade upgrade-insecure-requests user-agent via viewport-width width x-amzn-trace-id x-api-key
    x-correlation-id x-csrf-token x-csrftoken x-forwarded-for x-forwarded-host x-forwarded-port
    x-forwarded-prefix x-forwarded-proto x-forwarded-server x-http-method-override x-real-ip x-request-id
    x-request-start x-requested-with x-scheme x-xsrf-token
"""

COMMON_FIELDS: Final = tuple(_COMMON_FIELDS.split())
"""Fields that are met often: their environ keys are made once."""

_SECRET: Final = re.compile(
    rb"auth|token|secret|key|session|passw|credential|jwt|csrf|xsrf|signature|assertion|cookie"
)


def is_secret(name: bytes) -> bool:
    """Return whether a field may hold what only its client should know, to judge by its name, lower-cased."""
    return _SECRET.search(name) is not None


SECRET_FIELDS: Final = frozenset(
    name for name in ("proxy-authorization", *COMMON_FIELDS) if is_secret(name.encode())
)
"""Those that are met often; the values of secret fields are kept no longer than their request."""

# --- responses -------------------------------------------------------------------------------------------

HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)
"""RFC 9110 §7.6.1, PEP 3333: fields of this connection, which are the server's to send, not the app's."""

REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
"""RFC 9110 §15, RFC 6585 §5: the statuses that the server itself answers with."""

_STATUS: Final = re.compile(r"[1-9][0-9][0-9](?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_LENGTH: Final = re.compile(r"[0-9]+", re.ASCII)
_MAX_LENGTH: Final = 2**63 - 1


CLIENT_GONE: Final = "499 Client Closed Request"
"""For the log alone, as nginx has it: the client went before anything of its answer was sent."""


def status_text(code: int) -> str:
    """Return a status of our own as an app would write it, such as "400 Bad Request"."""
    return f"{code} {REASONS[code]}"


def response_line(status: str) -> bytes:
    """Return the status line for an app's status; raises ValueError if it is not `DDD reason`."""
    if not _STATUS.fullmatch(status):
        msg = f"status must be three digits and a reason: {status!r}"
        raise ValueError(msg)
    try:
        # RFC 9112 §4: the space is there even where the reason is not.
        return f"HTTP/1.1 {status if status[3:] else status + ' '}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        msg = f"status has characters beyond latin-1: {status!r}"
        raise ValueError(msg) from None


def response_length(value: str, earlier: int) -> int:
    """Return the number in an app's Content-Length; `earlier` is that of a field before it, or -1.

    Raises ValueError if it is no number, or contradicts the earlier one.
    """
    text = value.strip(" \t")
    length = int(text) if _LENGTH.fullmatch(text) and len(text) < 20 else -1
    if length < 0 or length > _MAX_LENGTH or earlier not in (-1, length):
        msg = f"Content-Length must be one number of bytes: {value!r}"
        raise ValueError(msg)
    return length


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(utc: tuple[int, ...]) -> str:
    """Return a time, as time.gmtime() gives it, in the form of RFC 9110 §5.6.7: in English, always."""
    year, month, day, hour, minute, second, weekday = utc[:7]
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
