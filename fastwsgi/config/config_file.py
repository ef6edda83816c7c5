"""The configuration file: found, run as Python, and what in it looks like a setting and is none.

Must not know: how its values are merged with others (sources.py). Changes `sys.path` and `sys.modules`, which
a configuration file needs to import from.
"""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .legacy import LEGACY
from .settings import BY_NAME, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["find", "run", "warnings"]

DEFAULT_FILES = ("fastwsgi.conf.py", "gunicorn.conf.py")


def find(directory: str) -> str | None:
    """Return the path of the configuration file in a directory, if there is one."""
    candidates = (Path(directory, name) for name in DEFAULT_FILES)
    return next((str(path) for path in candidates if path.is_file()), None)


def run(location: str, directory: str) -> tuple[dict[str, Any], str]:
    """Run the configuration file and return its names, and its path for messages."""
    # A configuration file imports from where the server was started, as the app does.
    if directory not in sys.path:
        sys.path.insert(0, directory)
    if location.startswith("python:"):
        name = location.removeprefix("python:")
        # Run afresh at each reload.
        sys.modules.pop(name, None)
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as exc:
            msg = f"configuration module {name}: {_explain(exc, None)}"
            raise ConfigError(msg) from None
        return vars(module), module.__file__ or location
    path = str(Path(directory, location.removeprefix("file:")))
    try:
        source = Path(path).read_bytes()
    except OSError as exc:
        msg = f"configuration file {path}: {exc.strerror}"
        raise ConfigError(msg) from None
    module = ModuleType("__config__")
    module.__file__ = path
    sys.modules["__config__"] = module  # dataclasses and pickling in the file look their module up
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - it is the user's own code
    except (Exception, SystemExit) as exc:
        msg = f"configuration file {_explain(exc, path)}"
        raise ConfigError(msg) from None
    return vars(module), path


def _explain(exc: BaseException, path: str | None) -> str:
    """Name place and reason on one line; the place is the innermost one in `path`, or anywhere if None."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}:{exc.lineno}: {type(exc).__name__}: {exc.msg}"
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if path in (None, f.filename)]
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    # An import that found nothing ends inside importlib, a place that tells nobody anything.
    if not frames or "importlib" in frames[-1].filename:
        return reason if path is None else f"{path}: {reason}"
    return f"{frames[-1].filename}:{frames[-1].lineno}: {reason}"


def warnings(names: Mapping[str, object], path: str) -> Iterator[str]:
    """Tell of names in a configuration file that someone believes to be settings."""
    flags = {flag.lstrip("-").replace("-", "_"): s.name for s in SETTINGS for flag in s.flags}
    # A helper variable called `name` or `pid` is more likely than one who means the flag.
    meant_by = {flag: name for flag, name in flags.items() if len(flag) > len("name")}
    meant_by.update({name: name for name in BY_NAME})
    for name, value in names.items():
        if name in BY_NAME or name in LEGACY or name.startswith("_"):
            continue
        if callable(value) or isinstance(value, ModuleType):
            continue
        close = difflib.get_close_matches(name.lower(), meant_by, 1, cutoff=0.85)
        if close and meant_by[close[0]] not in names:
            yield f"{path}: {name} is not a setting and is ignored; did you mean {meant_by[close[0]]}?"
