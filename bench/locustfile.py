"""Users of the shop in bench/mix: `locust -f bench/locustfile.py --headless -u 50 -H http://127.0.0.1:8000`.

Run it in the root of the repository, against `bench.mix.shop:app` on any server. A user thinks between two
requests and looks at what of each answer tells whether it is the right one; any other is a failure, and so is
one that does not come. The kinds of requests are the names in locust's tables.

Thinking is far shorter than that of people, so that a few hundred users are a load.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from typing import TYPE_CHECKING, Any

from locust import FastHttpUser, between, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS

from bench.mix import catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ApiClient", "Job", "Shopper", "Uploader", "Watcher"]

_PATIENCE = 10.0  # seconds; an answer that takes longer is missing
_BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.8,de;q=0.5,fr;q=0.3",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
    "DNT": "1",
    "Priority": "u=0, i",
}
_PROGRAM = {"User-Agent": "stockkeeper/3.2", "Accept": "application/json"}

_BROCHURE = hashlib.sha256(catalogue.brochure()).digest()
_UPLOAD = os.urandom(1024 * 1024)
_UPLOAD_DIGEST = hashlib.sha256(_UPLOAD).hexdigest()


class _User(FastHttpUser):
    abstract = True
    network_timeout = connection_timeout = _PATIENCE
    wait_time = between(0.05, 0.2)

    def ask(
        self, method: str, path: str, kind: str, status: int, says: Sequence[bytes] = (), **more: Any
    ) -> Any:
        """Send a request; return the answer if it has that status and says all of that, else None."""
        with self.client.request(
            method, path, name=kind, catch_response=True, allow_redirects=False, **more
        ) as response:
            if response.status_code == 0:
                return None  # locust knows why
            if response.status_code != status:
                response.failure(f"status {response.status_code} instead of {status}")
                return None
            content = response.content
            for text in says:
                if text not in content:
                    response.failure(f"{text!r} is not in the answer")
                    return None
            return response

    def ask_json(self, method: str, path: str, kind: str, status: int, answer: Any, **more: Any) -> None:
        """Send a request whose answer must be that, in JSON."""
        with self.client.request(method, path, name=kind, catch_response=True, **more) as response:
            if response.status_code == 0:
                return
            if response.status_code != status:
                response.failure(f"status {response.status_code} instead of {status}")
                return
            try:
                told = response.json()
            except ValueError:
                told = None
            if told != answer:
                response.failure("not the JSON that was asked for")

    def read(self, path: str, kind: str, piece: int) -> tuple[bytes, list[float]]:
        """Read an answer in pieces; return it with when each came, or nothing of either if it fails."""
        content = bytearray()
        times: list[float] = []
        began = time.perf_counter()
        with self.client.get(path, name=kind, catch_response=True, stream=True) as response:
            if response.status_code == 0:
                return b"", []
            try:
                for part in response.iter_content(piece, decode_content=False):
                    content += part
                    times.append(time.perf_counter() - began)
            except FAILURE_EXCEPTIONS as exc:
                response.failure(exc)
                return b"", []
            response.request_meta["response_time"] = (time.perf_counter() - began) * 1000
            response.request_meta["response_length"] = len(content)
            fault = self.fault(response.status_code, bytes(content), times)
            if fault:
                response.failure(fault)
        return bytes(content), times

    def fault(self, status: int, content: bytes, times: list[float]) -> str:  # noqa: ARG002
        """Return what is wrong with an answer that was read in pieces."""
        return "" if status == 200 else f"status {status} instead of 200"


class Shopper(_User):
    """A browser: visits on a new connection each, some pages on it, with cookies that count them."""

    weight = 9
    default_headers = _BROWSER

    def on_start(self) -> None:
        """Have no cookies and nothing in the cache."""
        self.seen = self.pieces = 0
        self.etag = ""

    @task
    def visit(self) -> None:
        """Look at pages, put something into the basket, and now and then fetch the brochure."""
        self.client.client.clientpool.close()
        for number in range(random.randint(4, 8)):
            if number:
                self.wait()
            page = random.randrange(catalogue.PAGES)
            self.look_at(page)
            if number == 0:
                self.revalidate_style()
            elif number == 2:
                self.wait()
                self.put_into_basket(random.choice(catalogue.shown(page)))
        if random.random() < 0.3:
            self.read("/brochure", "download", 64 * 1024)

    def look_at(self, page: int) -> None:
        """Read a page, which must know this user."""
        says = [
            b"<title>Catalogue, page %d - " % page,
            b'<p id="seen">Pages seen: %d</p>' % (self.seen + 1),
            b'<p id="basket">Pieces in your basket: %d</p>' % self.pieces,
            b'<article id="product-%d">' % catalogue.shown(page)[-1],
            b"</html>",
        ]
        if self.ask("GET", f"/catalogue/{page}", "page", 200, says):
            self.seen += 1

    def revalidate_style(self) -> None:
        """Fetch the stylesheet, or ask whether it has changed."""
        if self.etag:
            self.ask("GET", "/static/shop.css", "style", 304, headers={"If-None-Match": self.etag})
            return
        response = self.ask("GET", "/static/shop.css", "style", 200, [b"main { display: grid;", b"footer {"])
        if response:
            self.etag = response.headers["ETag"]

    def put_into_basket(self, product: int) -> None:
        """Send a form and go where the answer says."""
        pieces = random.randint(1, catalogue.MOST_PIECES)
        user = random.randrange(10**6)
        response = self.ask(
            "POST",
            "/basket",
            "form",
            303,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            data=f"product={product}&pieces={pieces}&user={user}&note=for+user+{user}",
        )
        if response:
            self.pieces += pieces
            self.look_at(int(response.headers["Location"].rpartition("/")[2]))

    def fault(self, status: int, content: bytes, times: list[float]) -> str:
        """See whether the brochure is whole."""
        wrong = super().fault(status, content, times)
        if not wrong and hashlib.sha256(content).digest() != _BROCHURE:
            wrong = f"{len(content)} bytes that are not the brochure's {catalogue.BROCHURE_SIZE}"
        return wrong


class ApiClient(_User):
    """A program that keeps its connection, asks for products and sends orders, in JSON."""

    weight = 4
    default_headers = _PROGRAM

    @task(3)
    def product(self) -> None:
        """Ask for one product."""
        number = random.choice(catalogue.shown(random.randrange(catalogue.PAGES)))
        answer = {"number": number, "name": catalogue.name(number), "price": catalogue.price(number)}
        self.ask_json("GET", f"/api/products/{number}", "api", 200, answer)

    @task
    def order(self) -> None:
        """Send an order of several lines."""
        numbers = random.sample(range(1000), random.randint(1, 12))
        lines = [{"product": number, "pieces": random.randint(1, 9)} for number in numbers]
        total = sum(catalogue.price(line["product"]) * line["pieces"] for line in lines)
        answer = {"total": total, "lines": len(lines)}
        self.ask_json("POST", "/api/orders", "order", 201, answer, json={"lines": lines})


class Job(ApiClient):
    """The same from a program that opens a connection for each request, as scripts do."""

    weight = 1
    default_headers = _PROGRAM | {"User-Agent": "curl/8.14.1", "Connection": "close"}


class Uploader(_User):
    """Somebody in the office: uploads of 1 MB, and a report that takes its time."""

    weight = 1
    default_headers = _BROWSER
    wait_time = between(0.3, 0.8)

    @task
    def upload(self) -> None:
        """Send a file, whose digest must come back."""
        name = f"{random.randrange(10**6)}.bin"
        answer = {"name": name, "size": len(_UPLOAD), "sha256": _UPLOAD_DIGEST}
        self.ask_json("PUT", f"/uploads/{name}", "upload", 201, answer, data=_UPLOAD)

    @task
    def report(self) -> None:
        """Ask for the sum of a page's prices."""
        page = random.randrange(catalogue.PAGES)
        total = sum(catalogue.price(number) for number in catalogue.shown(page))
        says = [b'<p id="total">Total: %d</p>' % total, b"</html>"]
        self.ask("GET", f"/report?page={page}", "report", 200, says)


class Watcher(_User):
    """A page that is open and is told of prices as server-sent events."""

    weight = 1
    default_headers = _BROWSER | {"Accept": "text/event-stream", "Sec-Fetch-Dest": "empty"}
    wait_time = between(0.3, 0.8)
    product = 0

    @task
    def watch(self) -> None:
        """Follow one product until the stream ends."""
        self.product = random.randrange(1000)
        self.read(f"/events/{self.product}", "stream", len(self.event(0)))

    def event(self, number: int) -> bytes:
        """Return what event `number` must look like."""
        return b"id: %d\nevent: price\ndata: %d\n\n" % (number, catalogue.price(self.product))

    def fault(self, status: int, content: bytes, times: list[float]) -> str:
        """See whether all events came, in order, and not all at once at the end."""
        wrong = super().fault(status, content, times)
        if wrong:
            return wrong
        if content != b"".join(self.event(number) for number in range(catalogue.EVENTS)):
            return f"{len(content)} bytes that are not the events asked for"
        if times[-1] - times[0] < catalogue.EVENT_PAUSE:
            return "the events came together, as if somebody had kept them back"
        return ""
