"""What the figures depend on besides the servers: the machine, the kernel, and the versions of everything."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "busy_seconds",
    "client_seconds",
    "compile_floor",
    "describe_machine",
    "describe_python",
    "missing_module",
    "missing_tool",
]

_ASK_PYTHON = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"python": platform.python_version(), "build": sys.version, "packages": found}))
"""


def busy_seconds(cpus: Iterable[int]) -> tuple[float, float]:
    """Return for how long since boot the CPUs have worked, and for how long a hypervisor took them away."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    worked = stolen = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *fields = line.split()
        if name in wanted:
            # user nice system idle iowait irq softirq steal; idle and iowait are rest.
            worked += sum(int(field) for field in fields[:3] + fields[5:7])
            stolen += int(fields[7])
    ticks = os.sysconf("SC_CLK_TCK")
    return worked / ticks, stolen / ticks


def client_seconds() -> float:
    """Return the CPU time of all clients that have run and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def missing_tool() -> str:
    """Return which of the programs needed is not there, with its remedy; "" if all are."""
    remedies = {"wrk": "apt install wrk", "taskset": "apt install util-linux"}
    for name, remedy in remedies.items():
        if shutil.which(name) is None:
            return f"{name} is not installed ({remedy}); nothing can be measured without it"
    return ""


def missing_module(python: str, module: str, root: Path) -> str:
    """Return why `python` cannot import `module`; "" if it can."""
    result = subprocess.run(
        [python, "-c", f"import {module}"], cwd=root, capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        return ""
    return (result.stderr.strip() or f"status {result.returncode}").splitlines()[-1]


def compile_floor(root: Path) -> tuple[Path | None, str]:
    """Compile floor.c if it is newer than its program; return the program, or None and the reason."""
    source, program = root / "bench" / "floor.c", root / "build" / "bench" / "floor"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program, ""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        return None, f"no C compiler ({compiler})"
    program.parent.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [compiler, "-O2", "-Wall", "-o", str(program), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        return None, f"floor.c does not compile: {result.stderr.strip().splitlines()[0]}"
    return program, ""


def describe_python(python: str, packages: Iterable[str]) -> dict[str, object]:
    """Return the version of the interpreter `python` and of those of `packages` that it has."""
    result = subprocess.run(
        [python, "-c", _ASK_PYTHON, *packages], capture_output=True, text=True, check=True
    )
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def describe_machine(root: Path) -> dict[str, object]:
    """Return CPU, kernel, load, and the commit that is measured."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    wrk = ""
    if shutil.which("wrk"):  # the scenarios do without
        asked = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
        wrk = (asked.stdout or asked.stderr).split("Copyright", 1)[0].strip()
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "system": platform.platform(),
        "load_before": os.getloadavg(),
        "revision": revision.stdout.strip(),
        "wrk": wrk,
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
