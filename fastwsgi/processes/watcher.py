"""A process that watches the app's files and has the master reload when they change; for development.

Owns what is watched and what of it counts. watchfiles, an extra, sees the changes. Must not know the master's
policy. Invariants: it serves nobody, and ends when the master does; what the server or Python itself writes,
or an editor while it works, is no change.
"""

from __future__ import annotations

import fnmatch
import glob
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import EXIT_OK
from . import fork
from .signals import HANDLED
from .title import set_title

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Iterator

    from ..config.settings import Config

__all__ = ["Sources", "Watcher"]

_LOOK: Final = 250  # milliseconds between two looks whether the master is still there
_NAMED: Final = 3  # of the files that have changed, in the log
_FORCE_POLLING: Final = {"auto": None, "poll": True, "inotify": False}


class Sources:
    """What the app is made of, as the settings say: Python files below its folders, and extra files.

    `trees` are the folders to watch with all that is below them, `folders` those to watch alone.
    """

    def __init__(self, cfg: Config) -> None:
        from watchfiles import DefaultFilter  # noqa: PLC0415 - an extra

        self._passes = DefaultFilter()  # caches, repositories, what editors write while they work
        self._directory = cfg.chdir
        paths = (cfg.pythonpath or "").split(",")
        self._code = {cfg.chdir, *(self._absolute(path.strip()) for path in paths if path.strip())}
        self._files = {self._absolute(path) for path in _files_of_configuration(cfg)}
        self._patterns: list[str] = []
        extra = set()
        for path in map(self._absolute, cfg.reload_extra_files):
            if os.path.isdir(path):
                self._patterns.append(os.path.join(glob.escape(path), "**"))
                extra.add(path)
            elif glob.has_magic(path) and not os.path.exists(path):
                self._patterns.append(path)
                extra.add(_fixed_part(path))
            else:
                self._files.add(path)
        # A reload must not be the reason of the next one.
        written = (cfg.errorlog, cfg.accesslog, cfg.pidfile)
        self._ours = {self._absolute(path) for path in written if path and path != "-"}
        self.trees = _without_nested(path for path in self._code | extra if os.path.isdir(path))
        parents = {os.path.dirname(path) for path in self._files}
        self.folders = sorted(path for path in parents if os.path.isdir(path) and not self._tree_of(path))

    def contain(self, path: str, change: object = None) -> bool:
        """Return whether a change of this file counts."""
        if path in self._ours:
            return False
        if path in self._files:
            return True
        is_code = path.endswith(".py") and any(_is_below(path, folder) for folder in self._code)
        if not is_code and not any(_matches(path, pattern) for pattern in self._patterns):
            return False
        # What lies around the watched folder is none of the filter's business.
        return self._passes(change, os.path.relpath(path, self._tree_of(path)))  # type: ignore[arg-type]

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._directory, path))

    def _tree_of(self, path: str) -> str:
        return next((tree for tree in self.trees if _is_below(path, tree)), "")


class Watcher:
    """The process that watches.

    Args:
        cfg: the settings.
        log: the error log.
        leave: called first in the process, to close what is the master's.

    Raises ConfigError if watchfiles is not installed.
    """

    def __init__(self, cfg: Config, log: logging.Logger, leave: Callable[[], None]) -> None:
        if importlib.util.find_spec("watchfiles") is None:
            raise cfg.mistake("reload", "watchfiles is not installed; pip install watchfiles")
        log.warning("The code is watched, and reloaded when it changes: for development only")
        self._cfg, self._log = cfg, log
        self._master = os.getpid()

        def child() -> int:
            leave()
            return self._run()

        self.pid = fork.fork(child)

    def stop(self) -> None:
        """End it."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        fork.wait(self.pid)

    # --- in the process ------------------------------------------------------------------------------------

    def _run(self) -> int:
        for number in HANDLED:
            # ^C comes to all processes of a terminal; the master ends this one when it ends itself.
            is_default = number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT, signal.SIGCHLD)
            signal.signal(number, signal.SIG_DFL if is_default else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        set_title(f"fastwsgi: watcher [{self._cfg.proc_name}]")
        sources = Sources(self._cfg)
        if sources.folders:
            threading.Thread(target=self._follow, args=(sources, sources.folders, False), daemon=True).start()
        try:
            self._follow(sources, sources.trees, is_deep=True)
        except Exception as exc:
            remedy = "--reload-engine poll may help"
            self._log.error("Changes are no longer seen: %s; %s", exc, remedy)
        return EXIT_OK

    def _follow(self, sources: Sources, folders: list[str], is_deep: bool) -> None:
        """Tell the master of changes until it is gone."""
        from watchfiles import watch  # noqa: PLC0415 - an extra

        is_known = False
        for changes in watch(
            *folders,
            watch_filter=lambda change, path: sources.contain(path, change),
            rust_timeout=_LOOK,
            yield_on_timeout=True,
            force_polling=_FORCE_POLLING[self._cfg.reload_engine],
            recursive=is_deep,
            ignore_permission_denied=True,
        ):
            if os.getppid() != self._master:
                return
            if not is_known:
                # Said after the first look: from now on, no change is missed.
                is_known = True
                self._log.debug("Watching %s", ", ".join(folders))
            if changes:
                names = sorted({os.path.relpath(path, self._cfg.chdir) for _, path in changes})
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                self._log.info("Changed: %s%s", ", ".join(names[:_NAMED]), more)
                os.kill(self._master, signal.SIGHUP)


def _files_of_configuration(cfg: Config) -> Iterator[str]:
    if cfg.config is None:
        return
    name = cfg.config.removeprefix("python:")
    path = sys.modules[name].__file__ if name != cfg.config and name in sys.modules else name
    if path:
        yield path


def _fixed_part(pattern: str) -> str:
    """Return the deepest folder that all that matches is in."""
    path = Path(pattern)
    while glob.has_magic(os.fspath(path)):
        path = path.parent
    return os.fspath(path)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _without_nested(folders: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for folder in sorted(folders):
        if not any(_is_below(folder, other) for other in kept):
            kept.append(folder)
    return kept


def _matches(path: str, pattern: str) -> bool:
    """Return whether a glob matches: `**` stands for any number of folders, and `*` stays within one."""
    return _parts_match(path.split(os.sep), pattern.split(os.sep))


def _parts_match(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_parts_match(parts[count:], patterns[1:]) for count in range(len(parts) + 1))
    if not parts or not fnmatch.fnmatchcase(parts[0], patterns[0]):
        return False
    return _parts_match(parts[1:], patterns[1:])
