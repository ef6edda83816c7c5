"""Finds and loads the WSGI application that a user names, and explains what is wrong when it cannot.

A name is `module`, `module:attribute`, `module:attribute.attribute` or `module:factory("literal", n=1)`;
without an attribute, `application` is looked for, then `app`. A callable is taken as it is.

Must not know: settings, processes, HTTP. Invariant: whatever is wrong with the name or in the application,
`load` raises AppImportError with one line that says what to do; an exception of the application is its cause.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from .errors import AppImportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed.wsgi import WSGIApplication

__all__ = ["Loadable", "explain", "load", "set_paths"]

DEFAULT_NAMES = ("application", "app")


class Loadable:
    """An application that a program loads in its own way, once in each process that serves it."""

    callable: WSGIApplication | None = None

    def load(self) -> WSGIApplication:
        """Return the application; to be overridden."""
        raise NotImplementedError

    def wsgi(self) -> WSGIApplication:
        """Return the application, loaded if it was not yet."""
        if self.callable is None:
            self.callable = self.load()
        return self.callable


def set_paths(directory: str, pythonpath: str | None) -> None:
    """Work in `directory` and import from there first, then from the comma-separated `pythonpath`."""
    os.chdir(directory)
    extra = [str(Path(path.strip()).absolute()) for path in (pythonpath or "").split(",") if path.strip()]
    first = [directory, *extra]
    # In place, since others hold this list; without repeats, since a reload comes here again.
    sys.path[:] = [*first, *(path for path in sys.path if path not in first)]


def load(spec: str | WSGIApplication | Loadable) -> WSGIApplication:
    """Load the application that `spec` names, or is.

    Raises:
        AppImportError: it cannot be loaded or is not a WSGI application. If its own code raised, that
            exception is the cause (`__cause__`), and `explain` shows its traceback.
    """
    if isinstance(spec, Loadable):
        name = f"{type(spec).__qualname__}.load()"
        try:
            loaded = spec.wsgi()
        except (Exception, SystemExit) as exc:  # the application's code may raise anything
            raise exc if isinstance(exc, AppImportError) else _fail(name, _place(exc)) from exc
        return _checked(loaded, name, None)
    if not isinstance(spec, str):
        return _checked(spec, getattr(spec, "__qualname__", type(spec).__qualname__), None)
    module_name, _, target = spec.strip().partition(":")
    _refuse_path(spec, module_name, target)
    module = _import(spec, module_name)
    if not target:
        target = _default_target(module)
    return _checked(_evaluate(module, target), f"{module_name}:{target}", module)


def explain(failure: AppImportError) -> str:
    """Put a failure in words: its line, and the traceback of the application's own exception, if any."""
    cause = failure.__cause__
    if cause is None:
        return str(failure)
    # The frames of this module and of importlib tell the user nothing.
    frames = traceback.extract_tb(cause.__traceback__)
    theirs = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(theirs)] if theirs else []
    lines += traceback.format_exception_only(type(cause), cause)
    return f"{failure}\n{''.join(lines).rstrip()}"


def _fail(spec: str, reason: str) -> AppImportError:
    return AppImportError(f"cannot load {spec!r}: {reason}")


# --- the module -----------------------------------------------------------------------------------------


def _refuse_path(spec: str, module: str, target: str) -> None:
    """Refuse the name of a file, or of nothing, and guess the module that was meant."""
    is_path = "/" in module or os.sep in module or module.endswith(".py")
    if not is_path:
        # Not only identifiers: `my-app` cannot be written in an import statement, and imports all the same.
        if not all(module.split(".")) or any(char.isspace() for char in module):
            raise _fail(spec, "the name must look like module:app")
        return
    file = Path(module)
    meant = ".".join(part for part in file.with_suffix("").parts if part.isidentifier())
    if not target:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        target = "application" if re.search(r"^application\s*[:=]", text, re.MULTILINE) else "app"
    raise _fail(spec, f"that is a path, not the name of a module; did you mean {meant or 'module'}:{target}?")


def _import(spec: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Missing is the module that was named, or a package above it; else it is something the app imports.
        if exc.name and (name == exc.name or name.startswith(exc.name + ".")):
            raise _fail(spec, _explain_missing(name, exc.name)) from None
        raise _fail(spec, f"{name} failed to import: {_place(exc)}") from exc
    except (Exception, SystemExit) as exc:  # the application's code may raise anything
        raise _fail(spec, f"{name} failed to import: {_place(exc)}") from exc


def _explain_missing(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    if parent in sys.modules and not hasattr(sys.modules[parent], "__path__"):
        remedy = f"; did you mean {parent}:{last}?" if hasattr(sys.modules[parent], last) else ""
        return f"{parent} is a module, not a package, and has no module {last} in it{remedy}"
    folders = sys.modules[parent].__path__ if parent in sys.modules else [str(Path.cwd())]
    close = difflib.get_close_matches(last, _modules_in(folders), 1)
    if close:
        meant = ".".join(
            [*([parent] if parent else []), close[0], *name.split(".")[missing.count(".") + 1 :]]
        )
        return f"there is no module {missing}; did you mean {meant}?"
    return (
        f"there is no module {missing} in {folders[0]} or on Python's path; --chdir or --pythonpath may help"
    )


def _modules_in(folders: Any) -> Iterator[str]:
    for folder in folders:
        for path in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if path.suffix == ".py" or (path / "__init__.py").exists():
                yield path.stem


def _place(exc: BaseException) -> str:
    """Say on one line what was raised, and where in the application."""
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    if isinstance(exc, SyntaxError):
        return reason  # its text has file and line
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if "importlib" not in f.filename]
    return f"{reason} ({frames[-1].filename}:{frames[-1].lineno})" if frames else reason


# --- the attribute --------------------------------------------------------------------------------------


def _default_target(module: ModuleType) -> str:
    for name in DEFAULT_NAMES:
        if hasattr(module, name):
            return name
    reason = f"{module.__name__} has neither application nor app"
    raise _fail(module.__name__, reason + _suggest(module, "application"))


def _suggest(module: ModuleType, wanted: str) -> str:
    """Guess which name of the module was meant: the nearest, a factory, or anything that may be an app."""
    name = module.__name__
    candidates = [key for key, value in vars(module).items() if _may_be_app(key, value, module)]
    factories = [
        key for key in candidates if key.endswith("_app") and isinstance(vars(module)[key], FunctionType)
    ]
    if wanted in DEFAULT_NAMES and factories:
        return f"; did you mean {name}:{factories[0]}()?"
    close = difflib.get_close_matches(wanted, candidates, 1)
    if close:
        return f"; did you mean {name}:{close[0]}?"
    return f"; it has {', '.join(candidates[:5])}" if candidates else ""


def _may_be_app(name: str, value: object, module: ModuleType) -> bool:
    if name.startswith("_") or not callable(value) or inspect.isclass(value):
        return False
    if type(value).__module__ == "typing":  # Any is callable in Python 3.10
        return False
    # What a module imports from elsewhere is rarely its application.
    return getattr(value, "__module__", module.__name__) == module.__name__ or not inspect.isroutine(value)


def _evaluate(module: ModuleType, target: str) -> object:
    """Follow the names in `target`, and call it if it is written as a call."""
    spec = f"{module.__name__}:{target}"
    try:
        node: ast.expr = ast.parse(target, mode="eval").body
    except SyntaxError:
        raise _fail(spec, "after the colon comes a name, or a call such as create_app()") from None
    if not isinstance(node, ast.Call):
        return _follow(module, node, spec)
    factory = _follow(module, node.func, spec)
    if not callable(factory):
        raise _fail(spec, f"{ast.unparse(node.func)} is {_a(factory)}, which cannot be called")
    try:
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {cast("str", kw.arg): ast.literal_eval(kw.value) for kw in node.keywords}
    except ValueError:
        raise _fail(
            spec, "only literal values may be given to a factory: numbers, strings, True, ..."
        ) from None
    return _call(factory, args, kwargs, spec)


def _call(factory: Callable[..., object], args: list[Any], kwargs: dict[str, Any], spec: str) -> object:
    mismatch = _mismatch(factory, *args, **kwargs)
    if mismatch:
        raise _fail(spec, f"the factory does not take these arguments: {mismatch}")
    try:
        return factory(*args, **kwargs)
    except (Exception, SystemExit) as exc:  # the application's code may raise anything
        raise _fail(spec, f"the factory failed: {_place(exc)}") from exc


def _follow(module: ModuleType, node: ast.expr, spec: str) -> object:
    if isinstance(node, ast.Name):
        owner, name = cast("object", module), node.id
    elif isinstance(node, ast.Attribute):
        owner, name = _follow(module, node.value, spec), node.attr
    else:
        raise _fail(spec, "after the colon comes a name, or a call such as create_app()")
    try:
        return getattr(owner, name)
    except AttributeError:
        hint = _suggest(module, name) if owner is module else ""
        where = module.__name__ if owner is module else _a(owner)
        raise _fail(spec, f"{where} has no attribute {name}{hint}") from None


# --- is it a WSGI application? --------------------------------------------------------------------------


def _checked(app: Any, spec: str, module: ModuleType | None) -> WSGIApplication:
    if not callable(app):
        hint = _suggest(module, "app") if module else ""
        raise _fail(spec, f"it is {_a(app)}, not a callable{hint}")
    call = app if inspect.isroutine(app) or inspect.isclass(app) else type(app).__call__
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        reason = (
            "it is async (ASGI); fastwsgi serves WSGI applications, an ASGI server is needed for this one"
        )
        raise _fail(spec, reason)
    mismatch = _mismatch(app, {}, None)
    if mismatch:
        if not _mismatch(app):
            raise _fail(spec, f"it takes no arguments, as a factory does; did you mean {spec}()?")
        raise _fail(spec, f"it cannot be called with environ and start_response: {mismatch}")
    return cast("WSGIApplication", app)


def _mismatch(function: Callable[..., object], /, *args: object, **kwargs: object) -> str:
    """Say why `function` does not take these arguments; "" if it does, or does not tell."""
    try:
        # A wrapper counts, not what it wraps: decorators turn other signatures into WSGI.
        signature = inspect.signature(function, follow_wrapped=False)
    except (ValueError, TypeError):
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        return str(exc)
    return ""


def _a(value: object) -> str:
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
