"""Both implementations in one process: the package, and beside it `purewsgi`, which is its Python sources alone.

In a pure run both are pure; what is compared then are splits, and other readers.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fastwsgi
from fastwsgi import _impl

if TYPE_CHECKING:  # of one of the two, so that mypy sees a target that is behind the package
    from fastwsgi.connection import Connection
    from fastwsgi.endpoint import Endpoint
    from fastwsgi.forwarding import Forwarding
    from fastwsgi.proxy_header import ProxyProtocol
    from fastwsgi.request import Limits, Request
    from fastwsgi.response import Response

__all__ = ["BOTH", "COMPILED", "PURE", "Twin"]

FOLDER: Final = str(Path(fastwsgi.__file__).parent)
_SWITCHES: Final = ("FASTWSGI_NO_EXTENSIONS", "FASTWSGI_REQUIRE_EXTENSIONS")


class Twin:
    """One implementation: what the targets use of it, under the names that the package has for them."""

    def __init__(self, package: str) -> None:
        self.name = package
        impl: Any = self.module("_impl")
        self.is_compiled: bool = impl.compiled
        self.Parser: Any = impl.Parser
        self.Serializer: Any = impl.Serializer
        self.Lines: Any = impl.Lines
        self.Connection: type[Connection] = self.module("connection").Connection
        self.Response: type[Response] = self.module("response").Response
        self.Endpoint: type[Endpoint] = self.module("endpoint").Endpoint
        request: Any = self.module("request")
        self.Request: type[Request] = request.Request
        self.Limits: type[Limits] = request.Limits
        self.Forwarding: type[Forwarding] = self.module("forwarding").Forwarding
        self.HTTPError: Any = self.module("errors").HTTPError
        self.ProxyProtocol: type[ProxyProtocol] = self.module("proxy_header").ProxyProtocol
        wsgi: Any = self.module("wsgi")
        self.base_environ: Any = wsgi.base_environ
        self.FileWrapper: Any = wsgi.FileWrapper
        stream: Any = self.module("stream")
        self.attach: Any = stream.attach
        self.UnreadableBodyError: Any = stream.UnreadableBodyError

    def forwarding(self, **words: Any) -> Any:
        """Return what proxies may say; of `proxies` the addresses are given."""
        networks = self.module("networks").Networks
        return self.Forwarding(**{**words, "proxies": networks(words.get("proxies", ()))})

    def module(self, name: str) -> Any:
        """Import a module of this implementation."""
        return importlib.import_module(f"{self.name}.{name}")


def _pure() -> Twin:
    """Import the package a second time, under another name, by a finder that sees no extensions."""
    found = sys.path_importer_cache.get(FOLDER)
    before = {name: os.environ.pop(name) for name in _SWITCHES if name in os.environ}
    os.environ["FASTWSGI_NO_EXTENSIONS"] = "1"
    folder = f"{FOLDER}/."  # Python keeps a finder for each way to write a path
    sys.path_importer_cache[folder] = FileFinder(FOLDER, (SourceFileLoader, SOURCE_SUFFIXES))
    try:
        spec = spec_from_file_location(
            "purewsgi", f"{FOLDER}/__init__.py", submodule_search_locations=[folder]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules["purewsgi"] = package = module_from_spec(spec)
        spec.loader.exec_module(package)
        return Twin("purewsgi")
    finally:
        del os.environ["FASTWSGI_NO_EXTENSIONS"]
        os.environ.update(before)
        sys.path_importer_cache[FOLDER] = found  # the switch of `purewsgi` has put its own there


COMPILED: Final = Twin("fastwsgi")
PURE: Final = _pure()
BOTH: Final = (COMPILED, PURE)
assert COMPILED.is_compiled == _impl.compiled
assert not PURE.is_compiled
