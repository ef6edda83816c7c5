"""The unit and the wire suites on extensions built with AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m tests.sanitized [ARGUMENT OF PYTEST...]

All lies in build/asan: the package once more, and `findings`, where each process that finds something leaves its
report: a worker that dies of one could be taken for something else. Any report fails the run. Memory is had from
malloc, so that every object is watched, and what is left at the end of a process that ends of itself is a leak.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / "build" / "asan"
FINDINGS: Final = PLACE / "findings"
COPIED: Final = ("fastwsgi", "tests", "bench", "examples", "deploy", "docs")
AT_THE_WIRE: Final = (
    *("access_lines", "client_certificates", "engine", "environment", "input", "overload", "request_timeout"),
    *("slow_clients", "smuggling", "splitting", "streaming", "threads", "tls", "websocket", "wire", "wsgi"),
)
SUITES: Final = ("tests/unit", *(f"tests/e2e/test_{name}.py" for name in AT_THE_WIRE))
LEFT_OUT: Final = {
    "browser": "does not run with another allocator preloaded",
    "gevent or green": "copies stacks, which looks like a fault",
    "slow_reader_does_not_take": "measures memory, of which the sanitizer keeps what is freed",
    "process_1": "LeakSanitizer does not work in a namespace of processes",
}
"""Tests by their names, and why not."""

COMPILER: Final = shlex.split(os.environ.get("CC", "cc"))


def library(name: str) -> str:
    """Return where the compiler has a library of its own."""
    found = subprocess.check_output([*COMPILER, f"-print-file-name={name}"], text=True).strip()
    if not Path(found).is_absolute():
        sys.exit(f"{COMPILER[-1]} has no {name}: install gcc with its sanitizers")
    return found


def build() -> None:
    """Copy what is needed, and compile what has changed since the last time."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        for old in (PLACE / name).rglob("*.py*"):  # but not what was compiled
            if old.is_file():
                old.unlink()
        shutil.copytree(
            ROOT / name,
            PLACE / name,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("*.so", "__pycache__"),
        )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy2(ROOT / name, PLACE / name)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", "4"]
    subprocess.run(command, cwd=PLACE, env={**os.environ, "FASTWSGI_SANITIZE": "1"}, check=True)


def environment() -> dict[str, str]:
    """Return the environment in which every process reports what it finds, and ends by it."""
    report = f"exitcode=99:log_path={FINDINGS}/report"
    return {
        **os.environ,
        "FASTWSGI_REQUIRE_EXTENSIONS": "1",
        "FASTWSGI_TEST_DEADLINE": os.environ.get("FASTWSGI_TEST_DEADLINE", "90"),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=1:{report}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{report}",
        "LSAN_OPTIONS": f"suppressions={PLACE}/tests/sanitized.supp:print_suppressions=0",
        "LD_PRELOAD": f"{library('libasan.so')}:{library('libubsan.so')}",
    }


def main(args: list[str]) -> int:
    """Build, run, and tell what was found; return the exit code."""
    build()
    shutil.rmtree(FINDINGS, ignore_errors=True)
    FINDINGS.mkdir()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "-o",
        "faulthandler_timeout=0",
        "-k",
        f"not ({' or '.join(LEFT_OUT)})",
    ]
    if not any(arg.startswith("tests/") for arg in args):
        args = [*SUITES, *args]
    code = subprocess.run([*command, *args], cwd=PLACE, env=environment(), check=False).returncode
    reports = sorted(FINDINGS.iterdir())
    for report in reports:
        print(f"\n{report}:\n{report.read_text(errors='replace')}")
    print(f"{len(reports)} reports of the sanitizers in {FINDINGS}")
    return 1 if reports else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
