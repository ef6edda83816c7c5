"""Run FastPySGI with what its command line cannot set: `-m bench.launch_fastpysgi PORT ... MODULE:APP`."""

from __future__ import annotations

import argparse
import importlib


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--certfile")
    parser.add_argument("--keyfile")
    parser.add_argument("app")
    options = parser.parse_args()
    module, _, name = options.app.partition(":")
    app = getattr(importlib.import_module(module), name)
    fastpysgi = importlib.import_module("fastpysgi")
    server = fastpysgi.server
    server.tcp_nodelay = 1  # off by default; without, pieces of a response wait for 40 ms
    if options.certfile:
        server.tls_list = [(options.certfile, options.keyfile)]
    server.init(app, "127.0.0.1", options.port, workers=options.workers)
    server.run()


if __name__ == "__main__":
    main()
