"""Run FastPySGI with what its command line cannot set: `-m bench.launch_fastpysgi PORT ... MODULE:APP`."""

from __future__ import annotations

import importlib

from .launching import told


def main() -> None:
    options = told({"workers": int, "certfile": str, "keyfile": str})
    fastpysgi = importlib.import_module("fastpysgi")
    server = fastpysgi.server
    server.tcp_nodelay = 1  # off by default; without, pieces of a response wait for 40 ms
    if options.certfile:
        server.tls_list = [(options.certfile, options.keyfile)]
    server.init(options.app, "127.0.0.1", options.port, workers=options.workers)
    server.run()


if __name__ == "__main__":
    main()
