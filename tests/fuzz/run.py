"""Fuzzing, guided by what the compiled code covers: builds it with clang, runs the targets side by side, tells.

    python -m tests.fuzz.run --seconds 3600 --targets head,connection
    python -m tests.fuzz.run --repeat build/fuzz/findings/head/crash-...

All lies in build/fuzz: `tree` (the package once more, with libFuzzer's coverage and sanitizers), `corpus` (what was
found to reach something new, kept from run to run), `findings`, `logs`. The first finding ends the run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fuzz.seeds import DICTIONARY, TARGETS, seeds

ROOT: Final = Path(__file__).resolve().parents[2]
PLACE: Final = ROOT / "build" / "fuzz"
TREE: Final = PLACE / "tree"
FUZZER: Final = PLACE / "fuzzer"
LONGEST: Final = 6000
SLOWEST: Final = 60  # seconds for one input, on a busy machine
COPIED: Final = ("fastwsgi", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
BUILT: Final = (".so", ".pyc")


def clang() -> str:
    """Return the name of a clang that has libFuzzer; exits if there is none."""
    names = [os.environ.get("CLANG", ""), "clang", *(f"clang-{version}" for version in range(30, 13, -1))]
    for name in names:
        if name and shutil.which(name):
            asked = [name, "-print-file-name=libclang_rt.fuzzer-x86_64.a"], [name, "--print-runtime-dir"]
            told = [
                subprocess.run(words, capture_output=True, text=True, check=False).stdout for words in asked
            ]
            if os.path.isabs(told[0].strip()) or [*Path(told[1].strip()).glob("libclang_rt.fuzzer*")]:
                return name
    sys.exit(
        "make fuzz needs clang and its libFuzzer: on Debian, apt install clang-19 libclang-rt-19-dev (CLANG= names another)"
    )


def copy_tree() -> None:
    """Have the sources in TREE; what has not changed keeps its time, so that only the rest is built again."""
    wanted = set()
    for name in COPIED:
        found = ROOT / name
        for path in [found] if found.is_file() else sorted(found.rglob("*")):
            if path.is_dir() or path.suffix in BUILT:
                continue
            there = TREE / path.relative_to(ROOT)
            wanted.add(there)
            if there.exists() and there.read_bytes() == path.read_bytes():
                continue
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)
    for name in ("fastwsgi", "tests"):
        for path in (TREE / name).rglob("*"):
            if path.is_file() and path.suffix not in BUILT and path not in wanted:
                path.unlink()


def build() -> None:
    """Build the extensions and the fuzzer."""
    compiler = clang()
    TREE.mkdir(parents=True, exist_ok=True)
    copy_tree()
    ccache = "ccache " if shutil.which("ccache") else ""
    environ = {
        **os.environ,
        "FASTWSGI_FUZZ": "1",
        "CC": ccache + compiler,
        "LDSHARED": f"{compiler} -shared",
        "CFLAGS": "",
    }
    subprocess.run(
        [
            sys.executable,
            "setup.py",
            "--quiet",
            "build_ext",
            "--inplace",
            "--parallel",
            str(os.cpu_count() or 1),
        ],
        cwd=TREE,
        env=environ,
        check=True,
    )
    known = sysconfig.get_config_var
    library, folder = f"python{known('LDVERSION')}", known("LIBDIR")
    if not [*Path(folder).rglob(f"lib{library}.so*")]:
        sys.exit(
            f"make fuzz needs lib{library}: a Python built with --enable-shared, as distributions have it"
        )
    subprocess.run(
        [
            *(compiler, "-g1", "-O1", "-fsanitize=fuzzer,address,undefined", "-rdynamic"),
            *(f"-I{sysconfig.get_path('include')}", str(TREE / "tests" / "fuzz" / "driver.c")),
            *(f"-L{folder}", f"-l{library}", f"-Wl,-rpath,{folder}", "-o", str(FUZZER)),
        ],
        check=True,
    )


def environment(target: str) -> dict[str, str]:
    """Return what a fuzzer is started with."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("FASTWSGI_", "PYTHON"))
    }
    return {
        **environ,
        "FASTWSGI_FUZZ_TARGET": target,
        "FASTWSGI_FUZZ_PYTHON": sys.executable,
        "FASTWSGI_REQUIRE_EXTENSIONS": "1",
        "PYTHONPATH": str(TREE),
        "PYTHONMALLOC": "malloc",  # each object lies by itself, so that reading past one is seen
        "PYTHONDONTWRITEBYTECODE": "1",
        # What Python keeps to its end is no leak of ours; those have tests of their own.
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32:handle_abort=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


@dataclass
class Fuzzer:
    """One target at work."""

    target: str
    seconds: int
    process: subprocess.Popen[bytes] = field(init=False)
    began: float = field(init=False)
    wall: float = 0.0
    cpu: float = 0.0
    code: int | None = None

    def __post_init__(self) -> None:
        corpus = PLACE / "corpus" / self.target
        self.findings = PLACE / "findings" / self.target
        begun = PLACE / "seeds" / self.target
        shutil.rmtree(begun, ignore_errors=True)
        for folder in (corpus, self.findings, begun, PLACE / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        for data in seeds(self.target):
            (begun / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        words = PLACE / "dictionary"
        words.write_text("".join(f'"{quoted(word)}"\n' for word in DICTIONARY))
        self.before = {*self.findings.iterdir()}
        self.log = PLACE / "logs" / f"{self.target}.log"
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(str(FUZZER), str(corpus), str(begun)),
                    *(f"-max_total_time={self.seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}"),
                    *("-rss_limit_mb=3000", "-print_final_stats=1", "-use_value_profile=1", "-reload=0"),
                    *(f"-dict={words}", f"-artifact_prefix={self.findings}/"),
                ],
                cwd=TREE,
                env=environment(self.target),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def look(self) -> bool:
        """Return whether it has ended."""
        if self.code is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.process.returncode = self.code
                self.wall = time.monotonic() - self.began
                self.cpu = usage.ru_utime + usage.ru_stime
        return self.code is not None

    def stop(self) -> None:
        """Have it end; libFuzzer then tells what it has done."""
        if not self.look():
            os.kill(self.process.pid, signal.SIGTERM)

    def found(self) -> list[Path]:
        """Return the findings of this run."""
        return sorted({*self.findings.iterdir()} - self.before)

    def row(self) -> tuple[str, ...]:
        """Return a line of the table."""
        text = self.log.read_text("utf-8", "replace")
        counts = re.findall(r"^#(\d+)\s.*? cov: (\d+) ft: (\d+) corp: (\d+)", text, re.MULTILINE)
        runs, edges, features, corpus = counts[-1] if counts else ("0", "0", "0", "0")
        whole = re.search(r"stat::number_of_executed_units: (\d+)", text)
        return (
            *(self.target, whole[1] if whole else runs, edges, features, corpus),
            *(f"{self.wall:.0f}", f"{self.cpu:.0f}", str(len(self.found()))),
        )


def quoted(word: str) -> str:
    """Return a word as dictionaries of libFuzzer have it."""
    return "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}" for c in word
    )


def fuzz(targets: list[str], seconds: int) -> int:
    """Run targets, as many at once as there are cores; return the exit code."""
    waiting = [*targets]
    running: list[Fuzzer] = []
    done: list[Fuzzer] = []
    failed: Fuzzer | None = None
    try:
        while waiting or running:
            while waiting and failed is None and len(running) < max(os.cpu_count() or 1, 1):
                running.append(Fuzzer(waiting.pop(0), seconds))
                print(f"fuzz: {running[-1].target} for {seconds} s, log in {running[-1].log}", flush=True)
            time.sleep(0.2)
            for one in [*running]:
                if one.look():
                    running.remove(one)
                    done.append(one)
                    if one.code and failed is None:
                        failed = one
                        waiting.clear()
                        for other in running:
                            other.stop()
    except KeyboardInterrupt:
        for one in running:
            one.stop()
        for one in running:
            while not one.look():
                time.sleep(0.1)
        done += running
    tell(done)
    if failed is None:
        return 0
    print(f"\nfuzz: {failed.target} has ended with {failed.code}; the end of {failed.log}:\n")
    print("\n".join(failed.log.read_text("utf-8", "replace").splitlines()[-40:]))
    for path in failed.found():
        print(
            f"\nfuzz: FINDING in {failed.target}; to repeat it:\n  make fuzz REPEAT={path.relative_to(ROOT)}"
        )
        print(
            f"kept among the seeds, it is never forgotten: cp {path.relative_to(ROOT)} tests/fuzz/kept/{failed.target}/"
        )
    return 1


def tell(done: list[Fuzzer]) -> None:
    """Print the table."""
    titles = ("target", "executions", "edges", "features", "corpus", "wall s", "CPU s", "findings")
    rows = [titles, *(one.row() for one in sorted(done, key=lambda one: one.target))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    print()
    for row in rows:
        print("  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)))


def merge(target: str) -> int:
    """Shrink a corpus to what covers the same; return the exit code."""
    corpus = PLACE / "corpus" / target
    smaller = PLACE / "corpus" / f"{target}.merged"
    smaller.mkdir()
    done = subprocess.run(
        [str(FUZZER), "-merge=1", f"-max_len={LONGEST}", str(smaller), str(corpus)],
        cwd=TREE, env=environment(target), check=False,
    )  # fmt: skip
    if done.returncode == 0:
        shutil.rmtree(corpus)
        smaller.rename(corpus)
    return done.returncode


def repeat(path: Path) -> int:
    """Run one input again, under the target that its folder is named for; return the exit code."""
    environ = environment(path.resolve().parent.name)
    return subprocess.run([str(FUZZER), str(path.resolve())], cwd=TREE, env=environ, check=False).returncode


def main() -> int:
    """Do as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--targets", default="", help=f"some of {','.join(TARGETS)}; all by default")
    parser.add_argument("--repeat", default="", metavar="FILE", help="run this input alone")
    parser.add_argument("--merge", action="store_true", help="shrink the corpora instead")
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    given: Any = parser.parse_args()
    targets = [name for name in given.targets.split(",") if name] or [*TARGETS]
    if not {*targets} <= {*TARGETS}:
        parser.error(f"targets are {', '.join(TARGETS)}")
    if not given.no_build:
        build()
    if given.repeat:
        return repeat(Path(given.repeat))
    if given.merge:
        return max(merge(target) for target in targets)
    return fuzz(targets, given.seconds)


if __name__ == "__main__":
    sys.exit(main())
