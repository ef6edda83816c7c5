"""A pre-fork WSGI server: gunicorn's command line and operations over a compiled HTTP/1.1 core.

From a shell: `fastwsgi -w 4 module:app`. From a program: `serve(app, workers=4)`, or a subclass of
`Application`. Importing this package loads nothing else; the server's parts come in when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from . import _impl as _impl
from .processes import origin as _origin  # noqa: F401 - notes how the process was started

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from .application import Application
    from .logs.logger import Logger

__all__ = ["Application", "Logger", "__version__", "serve"]

__version__ = "0.1.0"


def serve(app: WSGIApplication | str, **settings: object) -> int:
    """Serve `app` until a signal or ^C ends the server.

    Args:
        app: a WSGI application, or its name as on the command line ("module:app").
        settings: any setting by its name in a configuration file, as `bind="127.0.0.1:8000", workers=4`.
            Of the environment only PORT, WEB_CONCURRENCY and SENDFILE are looked at, and no file is.

    Returns:
        The exit code: 0 after a normal end; a mistake is told on standard error, and 1, 3 or 4 returned.
    """
    from .__main__ import serve_keywords  # noqa: PLC0415 - `import fastwsgi` must be cheap

    return serve_keywords({**settings, "wsgi_app": app})


_LATER: Final = {"Application": "application", "Logger": "logs.logger"}
"""Public names, and the modules they are in."""


if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import what is asked for: PEP 562."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
