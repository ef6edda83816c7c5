"""The smallest page of a Flask application, with a converter in its route as real ones have."""

from __future__ import annotations

from flask import Flask, Response

from .apps import BODY

__all__ = ["app"]

app = Flask(__name__)


@app.get("/shop/item/<int:number>")
def item(number: int) -> Response:  # noqa: ARG001
    """Answer with the body of `apps.hello`; one size for all makes every response of the run checkable."""
    return Response(BODY, content_type="text/plain; charset=utf-8")
