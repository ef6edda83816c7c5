"""Run cheroot with what its command line cannot set: `python -m bench.launch_cheroot PORT ... MODULE:APP`."""

from __future__ import annotations

import importlib

from .launching import told


def main() -> None:
    options = told({"threads": int, "certfile": str, "keyfile": str})
    server = importlib.import_module("cheroot.wsgi").Server(
        ("127.0.0.1", options.port),
        options.app,
        numthreads=options.threads,
        max=options.threads,
        request_queue_size=1024,
        timeout=75,
    )
    server.keep_alive_conn_limit = 4000  # 10 by default: it closes all others after one response
    if options.certfile:
        adapter = importlib.import_module("cheroot.ssl.builtin").BuiltinSSLAdapter
        server.ssl_adapter = adapter(options.certfile, options.keyfile)
    server.safe_start()


if __name__ == "__main__":
    main()
