"""Where the servers are installed: a virtual environment for each set of requirements, below build/bench/.

Each has Flask and Django beside it, in the versions that this Python has, so that all servers run the same
applications. An environment is made once and reused while its requirements are the same. Ours runs on this
Python, and the floor is a program that is compiled here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from . import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .servers import Server

__all__ = ["FOLDER", "NotInstalled", "install", "prepare"]

FOLDER = ROOT / "build" / "bench"
_FRAMEWORKS = ("flask", "django")
_RECORD = "requirements.txt"  # in the environment: what was installed; written last


class NotInstalled(Exception):  # noqa: N818 - an answer, not an error
    """The server could not be installed; the message says why."""


@cache
def prepare(server: Server) -> str:
    """Return the path of the Python that runs `server` (of the floor, the program), installing it first.

    Raises NotInstalled with the reason if that fails.
    """
    if server.name == "floor":
        return _compiled_floor()
    if not server.requirements:
        return _own(server)
    return install(server.title, server.requirements, beside=_frameworks(), needs=server.needs)


@cache
def install(
    title: str, requirements: tuple[str, ...], *, beside: tuple[str, ...] = (), needs: str = ""
) -> str:
    """Return the path of a Python that has the requirements and what is `beside` them, made if need be.

    Raises NotInstalled with the reason, and what it `needs`, if that fails.
    """
    wanted = [*requirements, *beside]
    names = "-".join(one.partition(">")[0] for one in requirements[:2])
    home = FOLDER / f"{sys.implementation.cache_tag}-{names}"
    python = home / "bin" / "python"
    record = home / _RECORD
    if record.exists() and record.read_text(encoding="utf-8").splitlines() == wanted:
        return str(python)
    print(f"installing {title}: {' '.join(wanted)}", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)], "no virtual environment")
    remedy = f" (it needs {needs})" if needs else ""
    _run([str(python), "-m", "pip", "install", "--quiet", *wanted], f"it does not install{remedy}")
    record.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    return str(python)


def _own(server: Server) -> str:
    _run([sys.executable, "-c", "import fastwsgi._impl"], "fastwsgi does not run", server.environment)
    return sys.executable


def _frameworks() -> tuple[str, ...]:
    found = []
    for name in _FRAMEWORKS:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            found.append(name)
    return tuple(found)


def _compiled_floor() -> str:
    source, program = ROOT / "bench" / "floor.c", FOLDER / "floor"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return str(program)
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        raise NotInstalled(f"there is no C compiler {compiler[0]!r} (Debian: gcc)")
    program.parent.mkdir(parents=True, exist_ok=True)
    _run([*compiler, "-O2", "-Wall", "-o", str(program), str(source)], "floor.c does not compile")
    return str(program)


def _run(command: list[str], failure: str, environment: Mapping[str, str] | None = None) -> None:
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise NotInstalled(f"{failure}: {_reason(result)}")


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says the most: the compiler's or pip's first error, or else the last one."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    for mark in ("fatal error:", "ERROR:", "error:"):
        for line in lines:
            if mark in line and "subprocess-exited-with-error" not in line:
                return line
    return lines[-1] if lines else f"status {result.returncode}"
