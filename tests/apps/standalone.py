"""A program that is a server: a subclass of Application, run by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastwsgi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

NAMES = {"-b": "bind", "-k": "worker_class", "--threads": "threads"}


class Standalone(fastwsgi.Application):
    """Its options are of the command line, its greeting and number of workers are in a file."""

    def load_config(self) -> None:
        for flag, value in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
            self.cfg.set(NAMES[flag], value)
        self.greeting, workers = Path(os.environ["STANDALONE"]).read_text().split()
        self.cfg.set("workers", workers)

    def load(self) -> Any:
        def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            return [self.greeting.encode()]

        return app


if __name__ == "__main__":
    Standalone().run()
