"""Response head to bytes: checks of the header fields, then the whole response in one piece."""

from __future__ import annotations

from functools import partial

from fastwsgi import _impl

from .clock import show

_BODY = b"Hello, world!"
_SHORT = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY)))]
_LONG = [
    *_SHORT,
    ("Cache-Control", "private, max-age=0"),
    ("ETag", '"5f0c6b1a-2d"'),
    ("Last-Modified", "Sat, 03 Jan 2026 10:00:00 GMT"),
    ("Set-Cookie", "session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly; SameSite=Lax"),
    ("X-Frame-Options", "DENY"),
    ("Vary", "Accept-Encoding, Cookie"),
]


def main() -> None:
    print(_impl.describe())
    serializer = _impl.Serializer("fastwsgi")
    for name, headers in (("2 fields", _SHORT), ("8 fields", _LONG)):
        block = serializer.render("200 OK", headers)
        show(f"render, {name}", partial(serializer.render, "200 OK", headers))
        show(
            f"assemble, {name}",
            partial(serializer.assemble, block, serializer.stamps, -1, b"", _BODY),
        )


if __name__ == "__main__":
    main()
