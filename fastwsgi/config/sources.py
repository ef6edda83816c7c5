"""Gathers settings from where users put them and merges them into one `Config`.

Sources, lowest to highest: defaults, environment defaults (PORT, WEB_CONCURRENCY, ...), one configuration
file, GUNICORN_CMD_ARGS, FASTWSGI_CMD_ARGS, the command line. Each value keeps its origin in words, which
error messages and `--print-config` tell.

Must not know: what a setting means (settings.py has the table), the master.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import green
from ..errors import ConfigError
from . import config_file
from .command_line import ENVIRONMENT_ARGUMENTS, Arguments, parse_arguments
from .cpus import available_cpus
from .kinds import AUTO, RefusedError
from .legacy import LEGACY
from .settings import BY_NAME, SETTINGS, Config, mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Merge", "Warn", "describe", "from_keywords", "load", "warn_on_stderr"]

Warn = Callable[[str], object]


def warn_on_stderr(message: str) -> None:
    """Write a warning where a user at a terminal sees it."""
    sys.stderr.write(f"Warning: {message}\n")
    sys.stderr.flush()


class Merge:
    """Values found so far; a later one replaces an earlier one."""

    def __init__(self, environ: Mapping[str, str], warn: Warn) -> None:
        self._warn = warn
        self.values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
        self.origins = dict.fromkeys(self.values, "default")
        for setting in SETTINGS:
            if setting.environment:
                variable, template = setting.environment
                if environ.get(variable):
                    self.put(setting.name, template.format(environ[variable]), f"environment, {variable}")

    def put(self, name: str, value: object, origin: str) -> None:
        """Take a value of one of our settings."""
        setting = BY_NAME[name]
        try:
            self.values[name] = setting.parse(value)
        except RefusedError as exc:
            raise mistake(name, value, origin, str(exc)) from None
        except (ValueError, TypeError):
            raise mistake(name, value, origin, f"must be {setting.kind.allowed}") from None
        self.origins[name] = origin

    def set(self, name: str, value: object, origin: str) -> None:
        """Take a value that a program gives to a setting, of gunicorn's or of ours.

        Raises:
            ConfigError: there is no such setting, or the value is wrong.
        """
        if name in LEGACY:
            self.put_legacy(name, value, origin)
        elif name in BY_NAME:
            self.put(name, value, origin)
        else:
            close = difflib.get_close_matches(name, BY_NAME, 1)
            remedy = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{origin} got {name}, which is not a setting{remedy}")

    def put_legacy(self, name: str, value: object, origin: str) -> None:
        """Take note of a setting of gunicorn that means nothing here."""
        legacy = LEGACY[name]
        if legacy.is_idle(value):
            return
        if legacy.is_refused:
            raise mistake(name, value, origin, f"{legacy.why}; remove it")
        self._warn(f"{name} ({origin}) is ignored: {legacy.why}")

    def _mistake(self, name: str, why: str) -> ConfigError:
        return mistake(name, self.values[name], self.origins[name], why)

    def finish(self, directory: str) -> Config:
        """Settle what depends on the machine and on other settings.

        Raises:
            ConfigError: a directory is missing.
        """
        values = self.values
        if values["workers"] == AUTO:
            values["workers"] = available_cpus()
            self.origins["workers"] += " (auto)"
        for name, parent in (("chdir", directory), ("tmp_upload_dir", values["chdir"])):
            if values[name] is None:
                continue
            values[name] = path = os.path.normpath(Path(directory, parent, values[name]))
            if not Path(path).is_dir():
                raise self._mistake(name, "there is no such directory")
        if values["worker_class"] == "gevent" and not green.is_installed():
            raise self._mistake("worker_class", "gevent is not installed; pip install gevent")
        if not values["request_buffering"] and values["worker_class"] != "gevent" and values["threads"] < 2:
            why = "an app that waits for a body would stop its worker; use --threads 2 or more, or -k gevent"
            raise self._mistake("request_buffering", why)
        if values["request_timeout"] and values["worker_class"] != "gevent" and values["threads"] < 2:
            why = "a worker with one thread cannot look after it; use --threads 2 or more, or -k gevent"
            raise self._mistake("request_timeout", why)
        if values["reload"] and values["preload_app"]:
            # As in a configuration for production, to which someone adds --reload while developing.
            values["preload_app"] = False
            why = "a preloaded app cannot be loaded anew"
            self._warn(f"preload_app ({self.origins['preload_app']}) is left out while reload is on: {why}")
        app = values["wsgi_app"]
        if values["proc_name"] is None and values["default_proc_name"] is not None:
            values["proc_name"] = values["default_proc_name"]
            self.origins["proc_name"] = self.origins["default_proc_name"]
        elif values["proc_name"] is None and app is not None:
            name = app if isinstance(app, str) else getattr(app, "__qualname__", type(app).__name__)
            values["proc_name"] = name
            self.origins["proc_name"] = "the app's name"
        return Config(**values, origins=self.origins)


def load(
    arguments: Arguments, environ: Mapping[str, str], directory: str, warn: Warn = warn_on_stderr
) -> Config:
    """Merge all sources into the configuration of a server started from the command line.

    Args:
        arguments: the command line.
        environ: the process's environment.
        directory: where the server was started; relative paths count from here, at reload as well.
        warn: called with one line for each thing in the configuration that has no effect.

    Raises:
        ConfigError: a source cannot be read or a value is wrong; the text is one line.
    """
    merge = Merge(environ, warn)
    command_lines = [*_environment_arguments(environ), arguments]
    location, origin = config_file.find(directory), f"found in {directory}"
    for line in command_lines:
        location, origin = line.given.get("config", (location, origin))
    if location:
        names, path = config_file.run(location, directory)
        for name in BY_NAME:
            if name in names and name != "config":
                merge.put(name, names[name], path)
        for name in LEGACY:
            if name in names:
                merge.put_legacy(name, names[name], path)
        for message in config_file.warnings(names, path):
            warn(message)
    for line in command_lines:
        for name, (value, where) in line.given.items():
            merge.put(name, value, where)
        for name, (value, where) in line.legacy.items():
            merge.put_legacy(name, value, where)
    if location:
        # In full: whoever looks for the file later may be in another directory.
        merge.put("config", location if location.startswith("python:") else path, origin)
    return merge.finish(directory)


def _environment_arguments(environ: Mapping[str, str]) -> Iterator[Arguments]:
    for variable in ENVIRONMENT_ARGUMENTS:
        try:
            words = shlex.split(environ.get(variable, ""))
        except ValueError as exc:
            msg = f"{variable}: {exc}"
            raise ConfigError(msg) from None
        yield parse_arguments(words, variable)


def from_keywords(
    settings: Mapping[str, object],
    environ: Mapping[str, str],
    directory: str,
    warn: Warn = warn_on_stderr,
) -> Config:
    """Make the configuration of a server that a program starts: keywords over environment defaults.

    Raises:
        ConfigError: a name is not a setting or a value is wrong.
    """
    merge = Merge(environ, warn)
    for name, value in settings.items():
        merge.set(name, value, "serve()")
    return merge.finish(directory)


def describe(cfg: Config) -> str:
    """Write out every setting, its value and where that comes from, one to a line."""
    wide = max(map(len, BY_NAME))
    lines = []
    for setting in SETTINGS:
        value = setting.show(getattr(cfg, setting.name))
        lines.append(f"{setting.name:<{wide}} = {value:<30}  # {cfg.origins.get(setting.name, 'default')}")
    return "\n".join(lines) + "\n"
