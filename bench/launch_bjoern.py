"""Run bjoern, which has no command line: `python -m bench.launch_bjoern PORT --workers 1 MODULE:APP`."""

from __future__ import annotations

import importlib
import os
import socket
import sys

from .launching import told


def main() -> None:
    options = told({"workers": int})
    bjoern = importlib.import_module("bjoern")
    listener = bjoern.listen(options.app, "127.0.0.1", options.port)
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
