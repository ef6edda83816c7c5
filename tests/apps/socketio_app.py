"""Socket.IO by Flask-SocketIO, on threads: echoes by long polling and by WebSocket. For one worker."""

from __future__ import annotations

import threading
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_socketio import SocketIO, disconnect, emit

from tests.live import DEADLINE

app = Flask(__name__)
app.secret_key = "for tests only"
# A client that polls when it is to end may wait for the next ping.
socketio = SocketIO(app, async_mode="threading", ping_interval=5)

changed = threading.Condition()
ended: dict[str, str] = {}


@app.get("/")
def index() -> str:
    return "beside Socket.IO"


@app.get("/ended/<sid>")
def reason_of_end(sid: str) -> Response:
    """Tell why a client's session has ended, once it has."""
    with changed:
        changed.wait_for(lambda: sid in ended, DEADLINE)
        return jsonify(ended.get(sid))


@socketio.on("echo")
def echo(data: Any) -> Any:
    """Answer twice: by an event, and by what the client's callback is given."""
    emit("echoed", data)
    return data


@socketio.on("announce")
def announce(data: Any) -> None:
    emit("announced", data, broadcast=True)


@socketio.on("leave")
def leave() -> None:
    disconnect()


@socketio.on("disconnect")
def gone(reason: str) -> None:
    with changed:
        ended[request.sid] = reason  # type: ignore[attr-defined]
        changed.notify_all()
