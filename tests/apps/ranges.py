"""A file in parts, as `Range` asks for them: by the app's own hand at /own, and by Werkzeug's at /werkzeug.

/shrinks sends a large file, of which /shrink leaves nothing.
"""

from __future__ import annotations

import io
import re
import tempfile
from typing import IO, TYPE_CHECKING, Final

from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.utils import send_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CONTENT: Final = b"".join(b"%07d\n" % n for n in range(40_000))


LARGE: Final = 64 << 20
SHRINKING: list[IO[bytes]] = []


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/shrinks":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the wrapper closes it
        file.truncate(LARGE)
        SHRINKING.append(file)
        start_response("200 OK", [])
        shrinking: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return shrinking
    if environ["PATH_INFO"] == "/shrink":
        SHRINKING.pop().truncate(0)
        start_response("200 OK", [])
        return [b"done"]
    if environ["PATH_INFO"] == "/werkzeug":
        try:
            response = send_file(
                io.BytesIO(CONTENT), environ, mimetype="text/plain", conditional=True, etag=False
            )
        except RequestedRangeNotSatisfiable as error:
            return error.get_response(environ)(environ, start_response)
        return response(environ, start_response)
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", ""))
    assert match
    first, last = int(match[1]), min(int(match[2]), len(CONTENT) - 1)
    if first > last:
        start_response("416 Range Not Satisfiable", [("Content-Range", f"bytes */{len(CONTENT)}")])
        return []
    file = tempfile.TemporaryFile()  # noqa: SIM115 - likewise
    file.write(CONTENT)
    file.seek(first)
    fields = [
        ("Content-Range", f"bytes {first}-{last}/{len(CONTENT)}"),
        ("Content-Length", str(last + 1 - first)),
    ]
    start_response("206 Partial Content", fields)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return wrapped
