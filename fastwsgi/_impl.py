"""The switch: this process runs all compiled or all pure, decided once, here.

Imported first of all by the package, before any module that exists in both forms; it costs a look at the
folder. The compiled form of `x.py` is an extension beside it, which Python's import prefers; to run pure, the
finder of the package's folder is replaced by one that knows only source files. The environment variables:

- FASTWSGI_NO_EXTENSIONS=1 runs pure although extensions are there;
- FASTWSGI_REQUIRE_EXTENSIONS=1 makes their absence an error.

An extension that is there and broken is always an error, never a silent fallback.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._courier_py import Courier
    from ._io_py import IO
    from ._lines_py import Lines
    from ._lock_py import Lock
    from ._parser_py import Parser
    from ._places_py import Places
    from ._serializer_py import Serializer

__all__ = [
    "IO",
    "ONE_SOURCE",
    "TWINS",
    "Courier",
    "Lines",
    "Lock",
    "Parser",
    "Places",
    "Serializer",
    "compiled",
    "describe",
]

TWINS: Final = {
    "_parser": "Parser",
    "_io": "IO",
    "_serializer": "Serializer",
    "_places": "Places",
    "_lock": "Lock",
    "_lines": "Lines",
    "_courier": "Courier",
}
"""Written twice, `_x.pyx` and `_x_py.py` with the same interface; and the class in it."""

ONE_SOURCE: Final = (
    "request",
    "llhttp",
    "body",
    "chunked",
    "deadlines",
    "endpoint",
    "response",
    "connection",
    "runner",
    "tunnel",
    "channel",
    "acceptor",
    "reception",
    "crew",
    "seats",
    "loop",
    "waiting",
    "overdue",
    "engine",
)
"""Written once, as Python; compiled with the types of the `.pxd` beside it."""


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def _is_extension(module: str) -> bool:
    spec = importlib.util.find_spec(f"{__package__}.{module}")
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def _choose() -> bool:
    """Return whether this process runs compiled.

    Raises ImportError if extensions are required and missing, or if only some of them are there.
    """
    forced_pure = _is_on("FASTWSGI_NO_EXTENSIONS")
    required = _is_on("FASTWSGI_REQUIRE_EXTENSIONS")
    if forced_pure and required:
        msg = "FASTWSGI_NO_EXTENSIONS and FASTWSGI_REQUIRE_EXTENSIONS contradict each other: unset one"
        raise ImportError(msg)
    if not forced_pure and platform.python_implementation() == "CPython":
        missing = [name for name in (*TWINS, *ONE_SOURCE) if not _is_extension(name)]
        if not missing:
            return True
        if required or len(missing) < len(TWINS) + len(ONE_SOURCE):
            msg = f"fastwsgi: compiled modules missing: {', '.join(missing)}; rebuild with `make build`"
            raise ImportError(msg)
    elif required:
        msg = "FASTWSGI_REQUIRE_EXTENSIONS is set, but the extensions are built for CPython only"
        raise ImportError(msg)
    return False


def _import_only_sources() -> None:
    folder = str(Path(__file__).parent)
    sys.path_importer_cache[folder] = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))


compiled: Final = _choose()
"""Whether this process runs the compiled form."""

if not compiled:
    _import_only_sources()


def __getattr__(name: str) -> Any:
    """Import a twin when it is first asked for: deciding is cheap, loading is not."""
    for twin, class_name in TWINS.items():
        if name == class_name:
            module = importlib.import_module(f"{__package__}.{twin if compiled else f'{twin}_py'}")
            return getattr(module, class_name)
    raise AttributeError(name)


def describe() -> str:
    """Return the implementation in words, for the boot log and `--version`."""
    if not compiled:
        return "pure Python"
    import httptools  # noqa: PLC0415 - absent from a pure installation

    return f"compiled, httptools {httptools.__version__}"
