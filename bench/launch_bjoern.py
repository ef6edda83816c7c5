"""Run bjoern, which has no command line: `python -m bench.launch_bjoern PORT --workers 1 MODULE:APP`."""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("app")
    options = parser.parse_args()
    module, _, name = options.app.partition(":")
    app = getattr(importlib.import_module(module), name)
    bjoern = importlib.import_module("bjoern")
    listener = bjoern.listen(app, "127.0.0.1", options.port)
    # What it accepts inherits this. Without, Nagle's algorithm keeps the last piece of a response for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # As its README says: the forks share the listening socket. One that is alone needs no parent.
    for _ in range(options.workers if options.workers > 1 else 0):
        if os.fork() == 0:
            bjoern.run()
            sys.exit()
    if options.workers > 1:
        os.wait()
    else:
        bjoern.run()


if __name__ == "__main__":
    main()
