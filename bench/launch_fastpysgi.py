"""Run FastPySGI with TCP_NODELAY, which its command line cannot set: launch_fastpysgi.py PORT MODULE:APP."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    port, spec = sys.argv[1:]
    module, _, name = spec.partition(":")
    app = getattr(importlib.import_module(module), name)
    fastpysgi = importlib.import_module("fastpysgi")
    fastpysgi.server.tcp_nodelay = 1  # off by default; every other server here has it on
    fastpysgi.run(app, "127.0.0.1", int(port))


if __name__ == "__main__":
    main()
