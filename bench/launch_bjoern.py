"""Run bjoern, which has no command line: launch_bjoern.py PORT MODULE:APP."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    port, spec = sys.argv[1:]
    module, _, name = spec.partition(":")
    app = getattr(importlib.import_module(module), name)
    importlib.import_module("bjoern").run(app, "127.0.0.1", int(port))


if __name__ == "__main__":
    main()
