"""Gathers settings from where users put them and merges them into one `Config`.

Sources, lowest to highest: defaults, environment defaults (PORT, WEB_CONCURRENCY, SENDFILE), one
configuration file, GUNICORN_CMD_ARGS, FASTWSGI_CMD_ARGS, the command line. Each value keeps its origin in
words, which error messages and `--print-config` tell.

Must not know: what a setting means (settings.py has the table), the master. Reads files and the process's CPU
share, changes nothing but `sys.path` and `sys.modules`, which a configuration file needs to import from.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import math
import os
import shlex
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from . import green
from .errors import ConfigError
from .settings import AUTO, NOT_YET, SETTINGS, SWITCH, Config, Setting

__all__ = [
    "Arguments",
    "Config",
    "available_cpus",
    "describe",
    "from_keywords",
    "help_text",
    "load",
    "parse_arguments",
]

USAGE = "fastwsgi [options] [module:app]"
DEFAULT_FILES = ("fastwsgi.conf.py", "gunicorn.conf.py")
ENVIRONMENT_ARGUMENTS = ("GUNICORN_CMD_ARGS", "FASTWSGI_CMD_ARGS")

Warn = Callable[[str], None]

_BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def _warn_on_stderr(message: str) -> None:
    sys.stderr.write(f"Warning: {message}\n")
    sys.stderr.flush()


# --- command lines -------------------------------------------------------------------------------------


class Arguments(NamedTuple):
    """A command line taken apart: for each setting that was given, its word (unread) and its origin."""

    given: Mapping[str, tuple[Any, str]]
    help: bool
    version: bool


class _Collect(argparse.Action):
    """Puts (setting, flag, word) on a list; words are read later, by the same code for every source."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: object, flag: str | None = None
    ) -> None:
        namespace.words.append((_BY_NAME[self.dest], flag, values))


class _Parser(argparse.ArgumentParser):
    def __init__(self, origin: str) -> None:
        super().__init__(prog="fastwsgi", usage=USAGE, add_help=False)
        self.origin = origin

    def error(self, message: str) -> NoReturn:
        # argparse would print the usage and exit with 2; a wrong option is a configuration error.
        msg = f"{message} ({self.origin})"
        raise ConfigError(msg)


def _parser(origin: str) -> _Parser:
    parser = _Parser(origin)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-v", "--version", action="store_true")
    # SUPPRESS keeps argparse from calling the action where the word is absent.
    parser.add_argument(
        "wsgi_app", nargs="?", action=_Collect, default=argparse.SUPPRESS, metavar="module:app"
    )
    for setting in SETTINGS:
        if setting.flags:
            nargs = 0 if setting.kind is SWITCH else None
            parser.add_argument(*setting.flags, dest=setting.name, action=_Collect, nargs=nargs)
    return parser


def parse_arguments(words: Sequence[str], origin: str = "command line") -> Arguments:
    """Take a command line apart.

    Args:
        words: the arguments, without the program's name.
        origin: where they come from, for messages.

    Raises:
        ConfigError: an option is unknown or lacks its value.
    """
    parser = _parser(origin)
    namespace, extra = parser.parse_known_args(words, argparse.Namespace(words=[]))
    if extra:
        raise ConfigError(_unknown_argument(extra[0], origin))
    given: dict[str, tuple[Any, str]] = {}
    for setting, flag, word in namespace.words:
        value: Any = word
        if setting.kind is SWITCH:
            value = not setting.default
        elif setting.kind.repeats:
            value = [*given[setting.name][0], word] if setting.name in given else [word]
        given[setting.name] = (value, f"{origin}, {flag}" if flag else origin)
    return Arguments(given, namespace.help, namespace.version)


def _unknown_argument(word: str, origin: str) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r} ({origin}): there is one application, and it is named once"
    flag = word.partition("=")[0]
    known = [flag for setting in SETTINGS for flag in setting.flags]
    close = difflib.get_close_matches(flag, known, 1)
    remedy = f"did you mean {close[0]}?" if close else "fastwsgi --help lists all options"
    return f"unknown option {flag} ({origin}): {remedy}"


def help_text() -> str:
    """Write out `--help`, in groups, at most 100 columns wide."""
    column = 32
    width = min(shutil.get_terminal_size().columns, 100)
    lines = [f"usage: {USAGE}", ""]

    def add(left: str, right: str) -> None:
        left = f"  {left}"
        if len(left) >= column:
            lines.append(left)
            left = ""
        indent = " " * column
        text = textwrap.wrap(right, max(width, column + 30), initial_indent=indent, subsequent_indent=indent)
        lines.append(left + text[0][len(left) :])
        lines.extend(text[1:])

    add("module:app", "The WSGI application: the attribute app of module. Also module:factory(1, 'x').")
    section = ""
    for setting in SETTINGS:
        if not setting.flags:
            continue
        if setting.section != section:
            section = setting.section
            lines += ["", f"{section}:"]
        add(_show_flags(setting), setting.help + _show_default(setting))
    add("-v, --version", "Show the version and exit.")
    add("-h, --help", "Show this help and exit.")
    lines += ["", "The environment may give defaults (" + ", ".join(_environment_names()) + ") and options"]
    lines += ["(" + ", ".join(ENVIRONMENT_ARGUMENTS) + "). The command line has the last word."]
    return "\n".join(lines) + "\n"


def _show_flags(setting: Setting) -> str:
    # One short and one long spelling; further ones are for old habits.
    short = [flag for flag in setting.flags if not flag.startswith("--")]
    long = [flag for flag in setting.flags if flag.startswith("--")]
    return f"{', '.join(short + long[:1])} {setting.kind.metavar}".rstrip()


def _show_default(setting: Setting) -> str:
    default = setting.show(setting.default)
    longest = 40
    return (
        "" if setting.default is None or setting.kind is SWITCH or len(default) > longest else f" [{default}]"
    )


def _environment_names() -> Iterator[str]:
    return (setting.environment[0] for setting in SETTINGS if setting.environment)


# --- configuration files -------------------------------------------------------------------------------


def _find_file(directory: str) -> str | None:
    candidates = (Path(directory, name) for name in DEFAULT_FILES)
    return next((str(path) for path in candidates if path.is_file()), None)


def _run_file(location: str, directory: str) -> tuple[dict[str, Any], str]:
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


def _warnings(names: Mapping[str, object], path: str) -> Iterator[str]:
    """Tell of names in a configuration file that someone believes to be settings."""
    flags = {flag.lstrip("-").replace("-", "_"): s.name for s in SETTINGS for flag in s.flags}
    # A helper variable called `name` or `pid` is more likely than one who means the flag.
    meant_by = {flag: name for flag, name in flags.items() if len(flag) > len("name")}
    meant_by.update({name: name for name in _BY_NAME})
    for name, value in names.items():
        if name in _BY_NAME or name.startswith("_"):
            continue
        if name in NOT_YET:
            if value:
                yield f"{path}: {name} is a setting of gunicorn that is not supported yet; it is ignored"
            continue
        if callable(value) or isinstance(value, ModuleType):
            continue
        close = difflib.get_close_matches(name.lower(), meant_by, 1, cutoff=0.85)
        if close and meant_by[close[0]] not in names:
            yield f"{path}: {name} is not a setting and is ignored; did you mean {meant_by[close[0]]}?"


# --- merging -------------------------------------------------------------------------------------------


class _Merge:
    """Values found so far; a later one replaces an earlier one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
        self.origins = dict.fromkeys(self.values, "default")
        for setting in SETTINGS:
            if setting.environment:
                variable, template = setting.environment
                if environ.get(variable):
                    self.put(setting.name, template.format(environ[variable]), f"environment, {variable}")

    def put(self, name: str, value: object, origin: str) -> None:
        setting = _BY_NAME[name]
        try:
            self.values[name] = setting.parse(value)
        except (ValueError, TypeError):
            msg = f"{name} = {repr(value)[:80]} ({origin}): must be {setting.kind.allowed}"
            raise ConfigError(msg) from None
        self.origins[name] = origin

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
                msg = f"{name} = {path!r} ({self.origins[name]}): there is no such directory"
                raise ConfigError(msg)
        if values["worker_class"] == "gevent" and not green.is_installed():
            origin = self.origins["worker_class"]
            msg = f"worker_class = 'gevent' ({origin}): gevent is not installed; pip install gevent"
            raise ConfigError(msg)
        if not values["request_buffering"] and values["worker_class"] != "gevent" and values["threads"] < 2:
            origin = self.origins["request_buffering"]
            msg = (
                f"request_buffering = False ({origin}): an app that waits for a body would stop its worker;"
                " use --threads 2 or more, or -k gevent"
            )
            raise ConfigError(msg)
        app = values["wsgi_app"]
        if values["proc_name"] is None and app is not None:
            name = app if isinstance(app, str) else getattr(app, "__qualname__", type(app).__name__)
            values["proc_name"] = name
            self.origins["proc_name"] = "the app's name"
        return Config(**values, origins=self.origins)


def load(
    arguments: Arguments, environ: Mapping[str, str], directory: str, warn: Warn = _warn_on_stderr
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
    merge = _Merge(environ)
    command_lines = [*_environment_arguments(environ), arguments]
    location, origin = _find_file(directory), f"found in {directory}"
    for line in command_lines:
        location, origin = line.given.get("config", (location, origin))
    if location:
        names, path = _run_file(location, directory)
        for name in _BY_NAME:
            if name in names and name != "config":
                merge.put(name, names[name], path)
        for message in _warnings(names, path):
            warn(message)
        merge.put("config", location, origin)
    for line in command_lines:
        for name, (value, where) in line.given.items():
            merge.put(name, value, where)
    return merge.finish(directory)


def _environment_arguments(environ: Mapping[str, str]) -> Iterator[Arguments]:
    for variable in ENVIRONMENT_ARGUMENTS:
        try:
            words = shlex.split(environ.get(variable, ""))
        except ValueError as exc:
            msg = f"{variable}: {exc}"
            raise ConfigError(msg) from None
        yield parse_arguments(words, variable)


def from_keywords(settings: Mapping[str, object], environ: Mapping[str, str], directory: str) -> Config:
    """Make the configuration of a server that a program starts: keywords over environment defaults.

    Raises:
        ConfigError: a name is not a setting or a value is wrong.
    """
    merge = _Merge(environ)
    for name, value in settings.items():
        if name not in _BY_NAME:
            close = difflib.get_close_matches(name, _BY_NAME, 1)
            remedy = f"; did you mean {close[0]}?" if close else ""
            msg = f"serve() got {name}, which is not a setting{remedy}"
            raise ConfigError(msg)
        merge.put(name, value, "serve()")
    return merge.finish(directory)


def describe(cfg: Config) -> str:
    """Write out every setting, its value and where that comes from, one to a line."""
    wide = max(map(len, _BY_NAME))
    lines = []
    for setting in SETTINGS:
        value = setting.show(getattr(cfg, setting.name))
        lines.append(f"{setting.name:<{wide}} = {value:<30}  # {cfg.origins.get(setting.name, 'default')}")
    return "\n".join(lines) + "\n"


# --- workers = auto ------------------------------------------------------------------------------------


def available_cpus(proc: Path = Path("/proc/self/cgroup"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPUs this process may use, by its affinity and its control group's quota (rounded up)."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *(math.ceil(quota) for quota in _cgroup_quotas(proc, cgroups))]))


def _cgroup_quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    """Yield the CPUs granted by each control group this process is in, its parents' included."""
    try:
        memberships = proc.read_text().splitlines()
    except OSError:
        return
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        if controllers == "":
            root = cgroups  # version 2: one tree for all controllers
        elif "cpu" in controllers.split(","):
            root = cgroups / "cpu"
        else:
            continue
        # In a container the path may be the host's, of which only the root is seen: skip what is missing.
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            quota = _quota(folder)
            if quota is not None:
                yield quota
            if folder == root:
                break


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        share = float(quota) / float(period)  # "max" and -1 mean no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None
