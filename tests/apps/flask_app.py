"""A Flask app that leans on the server: forms, uploads, streams, cookies, redirects, files."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, stream_with_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.wrappers import Response as AnyResponse

app = Flask(__name__)
app.secret_key = "for tests only"


@app.get("/")
def index() -> str:
    return "<h1>Grüße</h1>"


@app.get("/path/<path:rest>")
def rest_of_path(rest: str) -> Response:
    return jsonify(path=rest, url=request.url, args=request.args.to_dict(flat=False))


@app.post("/form")
def form() -> Response:
    return jsonify(form=request.form.to_dict(flat=False), length=request.content_length)


@app.post("/upload")
def upload() -> Response:
    return jsonify(
        note=request.form.get("note"),
        files={
            key: [file.filename, file.content_type, len(data := file.read()), zlib.crc32(data)]
            for key, file in request.files.items()
        },
    )


@app.route("/raw", methods=["POST", "PUT"])
def raw() -> Response:
    data = request.get_data()
    return jsonify(size=len(data), crc=zlib.crc32(data))


@app.post("/json")
def as_json() -> Response:
    return jsonify(request.get_json())


@app.get("/stream")
def stream() -> Response:
    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            yield b"%06d %s\n" % (number, request.args["word"].encode())

    return Response(stream_with_context(pieces()), mimetype="text/plain")


@app.get("/count")
def count() -> Response:
    session["visits"] = session.get("visits", 0) + 1
    response = jsonify(visits=session["visits"], cookies=sorted(request.cookies))
    response.set_cookie("second", "2")
    return response


@app.get("/away")
def away() -> AnyResponse:
    return redirect("/")


@app.get("/file")
def file() -> Response:
    return send_file(__file__, mimetype="text/x-python", conditional=True)


@app.get("/error")
def error() -> str:
    msg = "the view fails on purpose"
    raise RuntimeError(msg)


@app.get("/teapot")
def teapot() -> str:
    abort(418)


@app.route("/empty", methods=["GET", "DELETE"])
def empty() -> tuple[str, int]:
    return "", 204
