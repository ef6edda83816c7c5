"""What the shop sells and what its answers must say: facts that the site and its users share.

Plain computations, without Flask and without locust, since the two live in different environments.
"""

from __future__ import annotations

import hashlib

__all__ = [
    "BROCHURE_SIZE",
    "EVENTS",
    "EVENT_PAUSE",
    "MOST_PIECES",
    "PAGES",
    "PRODUCTS_PER_PAGE",
    "REPORT_SECONDS",
    "brochure",
    "name",
    "price",
    "shown",
]

PAGES = 50
PRODUCTS_PER_PAGE = 24
MOST_PIECES = 9  # of one product in one order
BROCHURE_SIZE = 256 * 1024
REPORT_SECONDS = 0.2
EVENTS = 5
EVENT_PAUSE = 0.25  # seconds between two of them

_ADJECTIVES = ("Plain", "Folding", "Heavy", "Slim", "Royal", "Travelling", "Quiet")
_NOUNS = (
    "Kettle",
    "Lamp",
    "Desk",
    "Atlas",
    "Bicycle",
    "Umbrella",
    "Clock",
    "Teapot",
    "Ladder",
    "Radio",
    "Scarf",
)


def price(product: int) -> int:
    """Return the price of a product in pence."""
    return 199 + product * 7919 % 20000


def name(product: int) -> str:
    """Return how a product is called."""
    return f"{_ADJECTIVES[product % 7]} {_NOUNS[product % 11]} No. {product}"


def shown(page: int) -> range:
    """Return the products on a page of the catalogue."""
    return range(page * PRODUCTS_PER_PAGE, (page + 1) * PRODUCTS_PER_PAGE)


def brochure() -> bytes:
    """Return the file that the site has for download: nothing that compresses."""
    blocks = BROCHURE_SIZE // 64
    return b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(blocks))
