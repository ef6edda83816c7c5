"""What is served of what is well-formed: the one meaning of a request head, for all who read heads.

Whoever has taken a head apart (the strict reader in pure Python, or httptools) hands it to `build`, which
makes the environ and the Request or raises HTTPError. The compiled scanner knows the plain cases itself,
and declines the rest: differential tests hold it to `build`. `frame` finds where a head ends.

Two rules keep every way of reading alike: a head is framed and measured before its grammar is looked at,
line by line, so that the first violation decides however the bytes were split; and nothing here depends on
what was read before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from . import http11
from .errors import HTTPError
from .request import Request

if TYPE_CHECKING:
    from .forwarding import Forwarding
    from .request import Limits

__all__ = ["HARD_LIMIT", "build", "environ_key", "frame", "is_head", "outline", "read"]

_CR: Final = 13
_TOKEN: Final = frozenset(http11.TOKEN_CHARS)
HARD_LIMIT: Final = 1 << 20  # bytes of a head, where the settings set no limit
# RFC 9112 §6.1 has no tab behind `chunked`, llhttp takes none, and smugglers hide the coding by one.
_HIDDEN_CODING: Final = re.compile(rb"transfer-encoding:.*chunked *\t[ \t]*", re.IGNORECASE)
_OUTLINED: Final = 4096  # bytes of a refused request line that are looked at

_KEYS: Final[dict[bytes, str]] = {
    name.encode(): "HTTP_" + name.upper().replace("-", "_") for name in http11.COMMON_FIELDS
}


def frame(buffer: bytes | bytearray, begin: int, searched: int, limits: Limits) -> tuple[int, int]:
    """Find the head that begins at `buffer[begin:]`: return its first offset and that past its blank line.

    The second is 0 while the head is not whole. `searched` is the length of the buffer at an earlier call
    that found it not whole. Raises HTTPError as soon as no more bytes could mend it.
    """
    size = len(buffer)
    if buffer[begin : begin + 2] == b"\r\n":
        begin += 2  # RFC 9112 §2.2: one empty line before the request line is ignored
    if size <= begin or buffer[begin : begin + 2] == b"\r":
        return begin, 0
    if buffer[begin] not in _TOKEN:
        raise HTTPError(400, "request does not begin with a method")
    start = begin
    count = 0
    if searched > begin:
        # The lines that were whole by then have been looked at.
        start = max(buffer.rfind(b"\n", begin, searched) + 1, begin)
        count = buffer.count(b"\n", begin, start)
    while True:
        newline = buffer.find(b"\n", start)
        if count and limits.fields and count > limits.fields and _is_field(buffer, start):
            raise HTTPError(431, f"more fields than limit_request_fields ({limits.fields})")
        _check_line(limits, (newline + 1 if newline >= 0 else size + 1) - start - 1, is_first=count == 0)
        _check_size((newline if newline >= 0 else size) - begin, limits)
        if newline < 0:
            return begin, 0
        if buffer[newline - 1] != _CR or newline == start:
            raise HTTPError(400, "bare LF in the head")  # RFC 9112 §2.2 allows it, smugglers love it
        if count and newline == start + 1:
            return begin, newline + 1
        count += 1
        start = newline + 1


def _is_field(buffer: bytes | bytearray, start: int) -> bool:
    return start < len(buffer) and buffer[start] != _CR


def _check_line(limits: Limits, nbytes: int, *, is_first: bool) -> None:
    """Measure a line, whole or as far as it has come; `nbytes` counts its CR but not its LF."""
    limit = limits.request_line if is_first else limits.field_size
    if limit and nbytes > limit + 1:
        if is_first:
            raise HTTPError(414, f"request line over limit_request_line ({limit})")
        raise HTTPError(431, f"field over limit_request_field_size ({limit})")


def _check_size(nbytes: int, limits: Limits) -> None:
    if nbytes > HARD_LIMIT and not (limits.request_line and limits.fields and limits.field_size):
        raise HTTPError(431, f"head over {HARD_LIMIT} bytes")


def read(head: bytes) -> tuple[bytes, bytes, bytes, bytes, list[tuple[bytes, bytes]]]:
    """Take a framed head apart by the grammar of RFC 9112 and nothing laxer.

    Return method, target, major and minor version, and the fields, all as they were sent. Raises HTTPError.
    """
    lines = head[:-4].split(b"\r\n")
    match = http11.REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise HTTPError(400, "malformed request line")
    fields = []
    for line in lines[1:]:
        field = http11.FIELD_LINE.fullmatch(line)
        if field is None:
            raise HTTPError(400, "malformed field")
        fields.append((field[1], field[2].strip(b" \t")))
    if b"\t" in head and any(map(_HIDDEN_CODING.fullmatch, lines)):
        raise HTTPError(400, "a tab behind Transfer-Encoding: chunked")
    method, target, major, minor = match.groups()
    return method, target, major, minor, fields


def is_head(head: bytes | bytearray) -> bool:
    """Return whether a head that may be refused, or is not whole, is that of a HEAD request."""
    return head[:7].removeprefix(b"\r\n").startswith(b"HEAD ")


def outline(head: bytes | bytearray) -> dict[str, str]:
    """Return what an environ would say of a head that is refused or was cut off, from its first line.

    For the log only: nothing in it is checked.
    """
    line = bytes(head[:_OUTLINED]).removeprefix(b"\r\n").partition(b"\n")[0].removesuffix(b"\r")
    method, _, rest = line.decode("latin-1").partition(" ")
    target, _, version = rest.rpartition(" ")
    if not version.startswith("HTTP/"):
        target, version = rest, ""
    path, _, query = target.partition("?")
    known = {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": version,
    }
    return {name: value for name, value in known.items() if value}


def environ_key(raw_name: bytes) -> str:
    """Return the environ key of a field."""
    name = raw_name.lower()
    return _KEYS.get(name) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def build(
    method: bytes,
    target: bytes,
    version: tuple[bytes, bytes],
    fields: list[tuple[bytes, bytes]],
    head_end: int,
    limits: Limits,
    base: dict[str, Any],
    remote: tuple[str, str],
    forwarding: Forwarding | None,
) -> Request:
    """Make the Request of a well-formed head, on a copy of the environ `base`. Raises HTTPError.

    `forwarding` is what the peer may say as a proxy in front, None if it is not believed.
    """
    if version[0] != b"1":
        raise HTTPError(505, "version is not HTTP/1.x")
    if method == b"CONNECT":
        raise HTTPError(501, "CONNECT: this is no proxy")
    environ = base.copy()
    is_10 = version[1] == b"0"
    request = Request(environ, 0 if is_10 else 1, head_end)
    request.is_head = method == b"HEAD"
    environ["REQUEST_METHOD"] = request.method = method.decode("ascii")
    environ["SERVER_PROTOCOL"] = "HTTP/1.0" if is_10 else "HTTP/1.1"
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = remote
    scheme = None
    if forwarding is not None:
        scheme, script_name = forwarding.read(fields)
        _set_forwarded(environ, scheme, script_name)
    authority = _set_target(environ, method, target)
    request.target = environ["RAW_URI"]
    framing = _set_fields(request, fields, limits.header_map, forwarding)
    _check_host(request, framing)
    if authority is not None:
        # RFC 9112 §3.2.2: the host of an absolute target replaces what Host says.
        environ["HTTP_HOST"] = authority
    if forwarding is not None and forwarding.hears():
        forwarding.apply(forwarding.gather(fields), environ, scheme)
    _set_connection(request, framing)
    _set_body(request, framing, limits)
    return request


def _set_forwarded(environ: dict[str, Any], scheme: str | None, script_name: str | None) -> None:
    if scheme is not None:
        environ["wsgi.url_scheme"] = scheme
    if script_name is not None:
        environ["SCRIPT_NAME"] = script_name


def _set_target(environ: dict[str, Any], method: bytes, target: bytes) -> str | None:
    """Set path and query; return the authority of an absolute target."""
    raw_path, _, query = target.partition(b"?")
    authority = None
    if b"#" in target:
        raise HTTPError(400, "fragment in the target")  # RFC 9112 §3.2: no form has one
    if not target.startswith(b"/"):
        match = http11.ABSOLUTE_FORM.fullmatch(target)
        if match is not None and http11.HOST.fullmatch(match[1]) and not match[1].startswith(b":"):
            authority = match[1].decode("ascii")
            raw_path = match[2] or b"/"
        elif target != b"*" or method != b"OPTIONS":
            raise HTTPError(400, "target of no form that is served")
    path = (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode("latin-1")
    script_name: str = environ["SCRIPT_NAME"]
    if script_name:
        if not (path + "/").startswith(script_name + "/"):
            raise HTTPError(400, f"path is not below SCRIPT_NAME {script_name!r}")
        path = path[len(script_name) :]
    environ["RAW_URI"] = target.decode("ascii")
    environ["PATH_INFO"] = path
    environ["QUERY_STRING"] = query.decode("ascii")
    return authority


def _set_fields(
    request: Request,
    fields: list[tuple[bytes, bytes]],
    header_map: str,
    forwarding: Forwarding | None,
) -> dict[str, list[bytes]]:
    """Set the HTTP_ keys; return the values of the fields that frame or steer the message."""
    environ = request.environ
    framing: dict[str, list[bytes]] = {}
    repeated: dict[str, list[str]] = {}  # joined once: a thousand of one name are not copied a thousand times
    for raw_name, value in fields:
        name = raw_name.lower()
        if b"_" in name and (forwarding is None or not forwarding.takes(name)):
            # The environ key could not be told from that of the name with hyphens.
            if header_map == "refuse":
                raise HTTPError(400, f"underscore in field name {raw_name!r}")
            if header_map != "dangerous":
                continue
        elif name == b"proxy":
            continue  # HTTP_PROXY would steer the app's own HTTP clients (CVE-2016-5385)
        if name in _STEERING:
            framing.setdefault(_STEERING[name], []).append(value)
        if name == b"content-length":
            key = "CONTENT_LENGTH"
        elif name == b"content-type":
            key = "CONTENT_TYPE"
            if key in environ:
                raise HTTPError(400, "Content-Type is repeated")  # RFC 9110 §8.3: no list; who is right?
        else:
            key = environ_key(name)
        text = value.decode("latin-1")
        if key in environ:
            repeated.setdefault(key, [environ[key]]).append(text)
        else:
            environ[key] = text
    for key, texts in repeated.items():
        # RFC 9110 §5.3; cookies have a separator of their own (RFC 6265 §4.2.1).
        environ[key] = ("; " if key == "HTTP_COOKIE" else ", ").join(texts)
    return framing


_STEERING: Final = {
    name.encode(): name
    for name in ("host", "connection", "upgrade", "expect", "content-length", "transfer-encoding")
}


def _check_host(request: Request, framing: dict[str, list[bytes]]) -> None:
    # RFC 9112 §3.2: a request with no Host (in 1.1), with two, or with an invalid one MUST get a 400.
    hosts = framing.get("host", [])
    if len(hosts) > 1 or (not hosts and request.version):
        raise HTTPError(400, "Host is missing" if not hosts else "Host is repeated")
    if hosts and not http11.HOST.fullmatch(hosts[0]):
        raise HTTPError(400, "Host is no host")


def _set_connection(request: Request, framing: dict[str, list[bytes]]) -> None:
    # RFC 9110 §7.6.1: a list of case-insensitive tokens, over any number of fields.
    tokens = {
        token.strip(b" \t") for value in framing.get("connection", ()) for token in value.lower().split(b",")
    }
    if b"close" in tokens:
        request.keep_alive = False
    elif request.version == 0:
        request.keep_alive = b"keep-alive" in tokens
    request.upgrade = b"upgrade" in tokens and "upgrade" in framing and request.version > 0
    if request.upgrade:
        # A proxy that does not look for the 101 hands on all that follows as the new protocol's, unread.
        request.keep_alive = False


def _set_body(request: Request, framing: dict[str, list[bytes]], limits: Limits) -> None:
    lengths = framing.get("content-length", [])
    codings = framing.get("transfer-encoding")
    if codings is not None:
        if lengths:
            # RFC 9112 §6.3: "ought to be handled as an error"; this is what request smuggling is made of.
            raise HTTPError(400, "both Content-Length and Transfer-Encoding")
        _check_codings(request, codings)
        request.content_length = -1
    elif lengths:
        if len(lengths) > 1 or not http11.LENGTH.fullmatch(lengths[0]):
            raise HTTPError(400, "Content-Length is not one number")
        digits = lengths[0].lstrip(b"0") or b"0"
        length = int(digits) if len(digits) <= 19 else http11.MAX_LENGTH + 1
        if length > http11.MAX_LENGTH:
            raise HTTPError(400, "Content-Length over 2^63-1")
        if limits.body and length > limits.body:
            raise HTTPError(413, f"Content-Length over limit_request_body ({limits.body})")
        request.content_length = length
    expectations = framing.get("expect")
    # RFC 9110 §10.1.1: from a 1.0 client it MUST be ignored.
    if expectations is not None and request.version > 0:
        if len(expectations) > 1 or expectations[0].lower() != b"100-continue":
            raise HTTPError(417, "Expect is not 100-continue")
        request.expect_continue = request.content_length != 0


def _check_codings(request: Request, values: list[bytes]) -> None:
    if request.version == 0:
        raise HTTPError(400, "Transfer-Encoding in HTTP/1.0")  # RFC 9112 §6.1: the framing is faulty
    codings = [coding.strip(b" \t") for coding in b",".join(values).lower().split(b",")]
    if codings == [b"chunked"]:
        return
    if b"chunked" in codings[:-1] or b"" in codings:
        raise HTTPError(400, "chunked is not the last transfer coding, or not alone, or there is none")
    raise HTTPError(501, "transfer coding other than chunked")
