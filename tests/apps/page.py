"""A page with many parts, for browsers, which tells when it has them all; and who has asked for what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PARTS = 24
PAGE = f"""<!doctype html><title>parts</title><link rel="icon" href="data:,">
<script>
async function load() {{
  const parts = [];
  for (let i = 0; i < {PARTS}; i++)
    parts.push(fetch("/part/" + i, i % 3 ? {{}} : {{method: "POST", body: "x".repeat(100000)}}));
  const texts = await Promise.all(parts.map(async part => (await part).text()));
  await fetch("/done", {{method: "POST", body: JSON.stringify(texts.map(text => text.length))}});
}}
load();
</script>"""
SEEN: list[tuple[str, str]] = []
RESULT: list[object] = []


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"].read()
    kind, answer = "text/plain", b""
    if path == "/":
        kind, answer = "text/html", PAGE.encode()
    elif path == "/done":
        RESULT.append(json.loads(body))
    elif path == "/seen":
        answer = json.dumps({"seen": SEEN, "result": RESULT}).encode()
    else:
        SEEN.append((path, environ["REMOTE_PORT"]))
        answer = bytes(len(body) or 50_000)
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(answer)))])
    return [answer]
