"""Build the extensions; everything else about the package stands in pyproject.toml.

Environment switches:
  FASTWSGI_NO_EXTENSIONS=1  build a pure-Python package
  FASTWSGI_DEBUG=1          -O0 -g3, assertions, Cython's reference counting checks
  FASTWSGI_SANITIZE=1       AddressSanitizer and UndefinedBehaviorSanitizer
  FASTWSGI_TRACE=1          line tracing, for coverage of compiled code
  FASTWSGI_FUZZ=1           both sanitizers and libFuzzer's coverage, by clang; some more modules compiled
  FASTWSGI_KQUEUE_SHIM=1    build the kqueue backend on Linux, over the shim in tests/ (test only)
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, setup

PACKAGE = Path("fastwsgi")
FUZZED = ("policy", "proxy_header", "forwarding", "hops", "networks")
"""Modules of plain Python that are compiled for fuzzing alone: libFuzzer is to see which way they go."""


def is_on(name: str) -> bool:
    """Return whether the environment variable FASTWSGI_`name` is set to something but 0."""
    return os.environ.get(f"FASTWSGI_{name}", "") not in ("", "0")


def extensions() -> list[Extension]:
    """Return every `.pyx` and every `.py` that has its types in a `.pxd` beside it."""
    from Cython.Build import cythonize  # noqa: PLC0415 - not needed for a pure build

    sources = sorted({*PACKAGE.glob("*.pyx"), *(p.with_suffix(".py") for p in PACKAGE.glob("*.pxd"))})
    if is_on("FUZZ"):
        sources = sorted({*sources, *(PACKAGE / f"{name}.py" for name in FUZZED)})
    # gcc takes the size-less array of an int in Python.h for an overrun.
    compile_args = ["-O3", "-g0", "-Wno-array-bounds"]
    link_args: list[str] = []
    macros: list[tuple[str, str | None]] = []
    if is_on("DEBUG"):
        compile_args = ["-O0", "-g3", "-UNDEBUG"]
        macros.append(("CYTHON_REFNANNY", "1"))
    if is_on("SANITIZE"):
        compile_args += ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        compile_args += ["-fno-omit-frame-pointer"]
        link_args += ["-fsanitize=address,undefined"]
    if is_on("FUZZ"):
        compile_args += [
            "-O1",
            "-g1",
            "-fsanitize=fuzzer-no-link,address,undefined",
            "-fno-omit-frame-pointer",
        ]
        # Cython calls by pointers of other types, and adds 0 to NULL where a call has no arguments.
        compile_args += ["-fno-sanitize=function,pointer-overflow", "-fno-sanitize-recover=undefined"]
    if is_on("TRACE"):
        macros += [("CYTHON_TRACE", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
    modules = [
        Extension(
            f"fastwsgi.{path.stem}",
            [str(path)],
            define_macros=list(macros),
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            depends=[str(header) for header in PACKAGE.glob("*.h")],
        )
        for path in sources
        if path.exists()
    ]
    if is_on("KQUEUE_SHIM"):
        io = next(module for module in modules if module.name == "fastwsgi._io")
        io.define_macros.append(("FASTWSGI_USE_KQUEUE", "1"))
        io.include_dirs.append("tests/kqueue_shim")
        io.sources.append("tests/kqueue_shim/kqueue.c")
    # Annotations are for readers and mypy; the types of C stand in the .pxd files.
    directives = {
        "language_level": 3,
        "annotation_typing": False,
        "linetrace": is_on("TRACE"),
        # An object belongs to one loop, whose threads take turns by a lock and not by the GIL (crew.py).
        "freethreading_compatible": True,
    }
    print(f"fastwsgi: building {len(modules)} extensions")  # noqa: T201
    return cythonize(
        modules, build_dir="build/cython", compiler_directives=directives, nthreads=os.cpu_count() or 1
    )


setup(ext_modules=[] if is_on("NO_EXTENSIONS") else extensions())
