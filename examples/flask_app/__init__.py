"""What `make serve` runs: a small Flask app that shows a server's work.

fastwsgi -w 2 examples.flask_app:app
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from flask import Flask, jsonify, render_template, request, stream_with_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Response
    from werkzeug.datastructures import FileStorage

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return render_template("index.html", environ=request.environ, pid=os.getpid())


@app.get("/hello.json")
def hello() -> Response:
    return jsonify(
        message="Hello from fastwsgi", method=request.method, args=request.args, worker=os.getpid()
    )


@app.get("/stream")
def stream() -> tuple[Iterator[str], dict[str, str]]:
    """Send one line after another, five a second."""

    def lines() -> Iterator[str]:
        for number in range(1, 11):
            yield f"line {number} of 10, from worker {os.getpid()}, at {time.strftime('%H:%M:%S')}\n"
            time.sleep(0.2)

    return stream_with_context(lines()), {"Content-Type": "text/plain; charset=utf-8"}


@app.post("/upload")
def upload() -> str:
    """Say what has arrived."""
    files = [describe(file) for file in request.files.getlist("file") if file.filename]
    return render_template(
        "upload.html", files=files, note=request.form.get("note", ""), nbytes=request.content_length
    )


def describe(file: FileStorage) -> dict[str, object]:
    """Return an uploaded file's name, type, size and digest, without holding it in memory."""
    digest = hashlib.sha256()
    size = 0
    while block := file.stream.read(1 << 16):
        digest.update(block)
        size += len(block)
    return {"name": file.filename, "type": file.content_type, "size": size, "digest": digest.hexdigest()}
