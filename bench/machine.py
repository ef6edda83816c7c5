"""What the figures depend on besides the servers: the machine, the kernel, and the versions of everything."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .servers import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "busy_seconds",
    "client_seconds",
    "describe_machine",
    "describe_python",
    "make_certificate",
    "missing_tool",
    "open_files_limit",
]

# Programs, and the Debian packages that have them.
_TOOLS = {"wrk": "wrk", "taskset": "util-linux", "openssl": "openssl", "cc": "gcc"}

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
    for name, package in _TOOLS.items():
        if shutil.which(name) is None:
            return f"{name} is not installed, and needed (Debian, Ubuntu: apt install {package})"
    return ""


def make_certificate(folder: Path) -> Certificate:
    """Have OpenSSL make a key and a certificate for it in the folder."""
    made = Certificate(folder / "chain.pem", folder / "key.pem")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command = ["openssl", *words.split(), "-keyout", str(made.key), "-out", str(made.chain)]
    subprocess.run(command, capture_output=True, check=True)
    return made


def open_files_limit() -> int:
    """Raise the limit of open files as far as it goes; servers and wrk inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def describe_python(python: str, packages: Iterable[str]) -> dict[str, Any]:
    """Return the version of the interpreter `python` and of those of `packages` that it has."""
    result = subprocess.run(
        [python, "-c", _ASK_PYTHON, *packages], capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def describe_machine(root: Path) -> dict[str, object]:
    """Return CPU, kernel, load, and the commit that is measured."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "system": platform.platform(),
        "load_before": os.getloadavg(),
        "revision": revision.stdout.strip(),
        "wrk": _first_line(["wrk", "-v"]).partition(" Copyright")[0],
        "compiler": _first_line(["cc", "--version"]),
    }


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:  # the scenarios do without
        return ""
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return (asked.stdout or asked.stderr).strip().partition("\n")[0].strip()


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
