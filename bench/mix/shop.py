"""The site that the mix visits: a Flask application such as there are many, small but whole.

Pages from templates with a session in a signed cookie, JSON, a form, uploads that are read and hashed, a
file, a stylesheet that browsers revalidate, a report that waits as if for a database, and a stream of events.
What it answers follows from the request and catalogue.py, so that a client can check each answer.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    render_template,
    request,
    send_file,
    session,
    url_for,
)

from . import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.wrappers import Response as AnyResponse

__all__ = ["app"]

_UPLOAD_LIMIT = 8 * 1024 * 1024
_PIECE = 64 * 1024
_BROCHURE = Path(__file__).resolve().parents[2] / "build" / "bench" / "brochure.bin"

app = Flask(__name__)
app.secret_key = "of no worth: it signs the baskets of a benchmark"
app.jinja_env.auto_reload = False


@app.get("/catalogue/<int:page>")
def show_page(page: int) -> str:
    """Show products, and how many pages this user has seen and pieces has put into the basket."""
    if page >= catalogue.PAGES:
        abort(404)
    session["seen"] = session.get("seen", 0) + 1
    products = [
        {"number": number, "name": catalogue.name(number), "price": catalogue.price(number)}
        for number in catalogue.shown(page)
    ]
    return render_template("catalogue.html", page=page, pages=catalogue.PAGES, products=products)


@app.post("/basket")
def fill_basket() -> AnyResponse:
    """Put what a form names into the basket and send the browser back to the page that it came from."""
    form = request.form
    pieces = form.get("pieces", 0, int)
    if not 0 < pieces <= catalogue.MOST_PIECES or form.get("note", "") != f"for user {form.get('user', '')}":
        abort(400)
    session["pieces"] = session.get("pieces", 0) + pieces
    page = form.get("product", 0, int) // catalogue.PRODUCTS_PER_PAGE
    return redirect(url_for("show_page", page=page), 303)


@app.get("/api/products/<int:product>")
def tell_product(product: int) -> Response:
    """Describe one product in JSON."""
    return jsonify(number=product, name=catalogue.name(product), price=catalogue.price(product))


@app.post("/api/orders")
def order() -> tuple[Response, int]:
    """Add an order up."""
    lines: list[dict[str, Any]] = request.get_json()["lines"]
    total = sum(catalogue.price(line["product"]) * line["pieces"] for line in lines)
    return jsonify(total=total, lines=len(lines)), 201


@app.put("/uploads/<name>")
def take_upload(name: str) -> tuple[Response, int]:
    """Read a file as it comes and tell its digest."""
    digest = hashlib.sha256()
    size = 0
    while piece := request.stream.read(_PIECE):
        digest.update(piece)
        size += len(piece)
        if size > _UPLOAD_LIMIT:
            abort(413)
    return jsonify(name=name, size=size, sha256=digest.hexdigest()), 201


@app.get("/brochure")
def give_brochure() -> Response:
    """Send a file."""
    return send_file(_BROCHURE, mimetype="application/octet-stream", download_name="brochure.bin")


@app.get("/report")
def report() -> str:
    """Show all prices of a page, after a wait as for a database that is busy."""
    time.sleep(catalogue.REPORT_SECONDS)
    page = request.args.get("page", 0, int)
    prices = [(number, catalogue.price(number)) for number in catalogue.shown(page)]
    return render_template("report.html", page=page, prices=prices, total=sum(price for _, price in prices))


@app.get("/events/<int:product>")
def watch(product: int) -> Response:
    """Tell of a price, several times, as server-sent events."""

    def events() -> Iterator[str]:
        for number in range(catalogue.EVENTS):
            if number:
                time.sleep(catalogue.EVENT_PAUSE)
            yield f"id: {number}\nevent: price\ndata: {catalogue.price(product)}\n\n"

    return Response(events(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


@app.template_filter("money")
def money(pence: int) -> str:
    """Write a price as people do."""
    return f"£{pence // 100}.{pence % 100:02}"


def _make_brochure() -> None:
    if _BROCHURE.exists() and _BROCHURE.stat().st_size == catalogue.BROCHURE_SIZE:
        return
    _BROCHURE.parent.mkdir(parents=True, exist_ok=True)
    # Several workers may do it at once, so that it must appear as a whole.
    with tempfile.NamedTemporaryFile(dir=_BROCHURE.parent, delete=False) as file:
        file.write(catalogue.brochure())
    os.replace(file.name, _BROCHURE)


_make_brochure()
