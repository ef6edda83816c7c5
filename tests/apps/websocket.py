"""WebSockets by Flask-Sock: echoes, pushes, misfortunes, and a page on which a browser tries them.

What it counts it keeps in memory: run it in one worker, with threads.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_sock import Sock

from tests.live import DEADLINE

app = Flask(__name__)
if interval := os.environ.get("FASTWSGI_TEST_PING_INTERVAL"):
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": float(interval)}
sock = Sock(app)

changed = threading.Condition()
counts = {"open": 0, "ended": 0, "messages": 0, "requests": 0}
results: dict[str, Any] = {}
release = threading.Event()


class Counted:
    """A block in which a WebSocket is open, as /count tells."""

    def __enter__(self) -> None:
        with changed:
            counts["open"] += 1

    def __exit__(self, *exception: object) -> None:
        with changed:
            counts["open"] -= 1
            counts["ended"] += 1
            changed.notify_all()


def echo_all(ws: Any) -> None:
    """Echo until the client closes, which `receive` raises."""
    while True:
        message = ws.receive()
        with changed:
            counts["messages"] += 1
        ws.send(message)


@sock.route("/echo")
def echo(ws: Any) -> None:
    with Counted():
        echo_all(ws)


@sock.route("/push")
def push(ws: Any) -> None:
    """Send `count` messages of `size` bytes once the client has said a word, then close."""
    count, size = request.args.get("count", 10, int), request.args.get("size", 10, int)
    with Counted():
        ws.receive()
        for number in range(count):
            ws.send(b"%08d" % number + bytes([number % 256]) * (size - 8))
        if code := request.args.get("code", 0, int):
            ws.close(code, request.args.get("reason"))


@sock.route("/outlive")
def outlive(ws: Any) -> None:
    """Go on with other work after the WebSocket's end, until /release."""
    with Counted():
        try:
            echo_all(ws)
        finally:
            release.wait(DEADLINE)


@sock.route("/raise")
def fail(ws: Any) -> None:
    with Counted():
        ws.send("about to fail")
        msg = "the handler fails on purpose"
        raise ValueError(msg)


@app.get("/count")
def count() -> Response:
    """Tell what is counted; with `?ended=N`, once that many WebSockets have ended."""
    wanted = request.args.get("ended", 0, int)
    with changed:
        counts["requests"] += 1
        changed.wait_for(lambda: counts["ended"] >= wanted, DEADLINE)
        return jsonify(counts)


@app.post("/release")
def let_go() -> str:
    release.set()
    return "released"


@app.route("/result", methods=["GET", "POST"])
def result() -> Response:
    """Keep what a run of the page reports; give it out once it is there."""
    run = request.args["run"]
    with changed:
        if request.method == "POST":
            results[run] = request.get_json()
            changed.notify_all()
        else:
            changed.wait_for(lambda: run in results, DEADLINE)
        return jsonify(results.get(run))


@app.get("/page")
def page() -> str:
    return PAGE


PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>running</title>
<pre id="outcome">running</pre>
<script>
"use strict";
const base = `ws://${location.host}`;
const passed = [];
const failed = [];

function check(name, holds) {
  (holds ? passed : failed).push(name);
}

// A WebSocket whose messages and end are awaited one after the other.
function open(path) {
  const ws = new WebSocket(base + path);
  const arrived = [];
  const waiting = [];
  ws.binaryType = "arraybuffer";
  ws.onmessage = (event) => {
    if (waiting.length) waiting.shift().resolve(event.data);
    else arrived.push(event.data);
  };
  const ended = new Promise((resolve) => {
    ws.onclose = (event) => {
      for (const each of waiting) each.reject(new Error(`closed with ${event.code}`));
      resolve(event);
    };
  });
  const opened = new Promise((resolve, reject) => {
    ws.onopen = resolve;
    ws.onerror = () => reject(new Error(`no WebSocket at ${path}`));
  });
  const next = () => arrived.length
    ? Promise.resolve(arrived.shift())
    : new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  return { ws, opened, ended, next };
}

async function echoes() {
  const { ws, opened, ended, next } = open("/echo");
  await opened;
  for (const text of ["hello", "", "Grüße, 世界 🎈", "ä".repeat(70000)]) {
    ws.send(text);
    check(`text of ${text.length}`, await next() === text);
  }
  for (const size of [0, 1, 125, 126, 65535, 65536, 256 * 1024]) {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255);
    ws.send(bytes);
    const echo = new Uint8Array(await next());
    check(`binary of ${size}`, echo.length === size && echo.every((value, i) => value === bytes[i]));
  }
  for (let i = 0; i < 100; i++) ws.send(`burst ${i}`);
  let inOrder = true;
  for (let i = 0; i < 100; i++) inOrder = await next() === `burst ${i}` && inOrder;
  check("burst in order", inOrder);
  ws.close(1000, "thanks");
  const end = await ended;
  check("closed by the page", end.wasClean && end.code === 1000);
}

async function pushes() {
  const { ws, opened, ended, next } = open("/push?count=50&size=5000&code=4001&reason=enough");
  await opened;
  ws.send("go");
  let whole = true;
  for (let i = 0; i < 50; i++) {
    const bytes = new Uint8Array(await next());
    const number = Number(new TextDecoder().decode(bytes.subarray(0, 8)));
    whole = whole && bytes.length === 5000 && number === i && bytes.subarray(8).every((value) => value === i);
  }
  check("pushed in order", whole);
  const end = await ended;
  check("closed by the server", end.wasClean && end.code === 4001 && end.reason === "enough");
}

async function beside() {
  const several = [0, 1, 2].map(() => open("/echo"));
  await Promise.all(several.map((each) => each.opened));
  const echoed = await Promise.all(several.map((each, i) => { each.ws.send(`n${i}`); return each.next(); }));
  check("several at once", echoed.join() === "n0,n1,n2");
  const answer = await fetch("/count");
  check("request beside WebSockets", answer.ok && (await answer.json()).open >= 3);
  for (const each of several) each.ws.close();
  const ends = await Promise.all(several.map((each) => each.ended));
  check("several closed", ends.every((end) => end.wasClean));
}

(async () => {
  for (const part of [echoes, pushes, beside]) {
    try {
      await part();
    } catch (error) {
      failed.push(`${part.name}: ${error}`);
    }
  }
  document.title = failed.length ? "failed" : "passed";
  const outcome = document.getElementById("outcome");
  outcome.textContent = JSON.stringify({ passed, failed }, null, 1);
  await fetch("/result" + location.search, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ passed, failed, title: document.title, shown: outcome.textContent }),
  });
})();
</script>
"""
