"""The global interpreter lock: whether it is on, and what has turned it on where Python could do without."""

from __future__ import annotations

import re
import sys
import sysconfig
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

__all__ = ["has_gil", "is_optional", "reporting"]

# CPython's RuntimeWarning at the import of a module that has not declared itself compatible.
_TURNED_ON = re.compile(r"The global interpreter lock \(GIL\) has been enabled to load module '([^']+)'")


def is_optional() -> bool:
    """Return whether this Python is a free-threaded one, which can run without the lock."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def has_gil() -> bool:
    """Return whether the threads of this process take turns by the lock, now."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)  # from Python 3.13 on
    return is_enabled is None or bool(is_enabled())


@contextmanager
def reporting(log: logging.Logger) -> Iterator[None]:
    """Log it if an import turns the lock on for the rest of the process, and whose that was."""
    show = warnings.showwarning

    def look(message: Warning | str, *where: Any, **options: Any) -> None:
        match = _TURNED_ON.match(str(message))
        if match is None:
            show(message, *where, **options)
        else:
            log.warning("The GIL is on, threads take turns: %s does not say that it can do without", match[1])

    if not has_gil():
        warnings.showwarning = look
    try:
        yield
    finally:
        if warnings.showwarning is look:
            warnings.showwarning = show
