"""The command line of the launchers: `python -m bench.launch_X PORT [options] MODULE:APP`."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["told"]


def told(options: Mapping[str, type]) -> argparse.Namespace:
    """Return what the command line says: port, the `options` by name and type, and the app, loaded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    for name, kind in options.items():
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("app")
    found = parser.parse_args()
    module, _, name = found.app.partition(":")
    found.app = getattr(importlib.import_module(module), name)
    return found
