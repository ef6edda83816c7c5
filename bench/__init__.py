"""Side-by-side measurements of WSGI servers; `python -m bench.run --help` tells how."""

from pathlib import Path

__all__ = ["ROOT"]

# The checkout: what relative paths in commands start from.
ROOT = Path(__file__).resolve().parent.parent
