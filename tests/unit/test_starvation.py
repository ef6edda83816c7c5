"""Each allocation of each part fails once: no crash, nothing but a MemoryError or a 503, no descriptor lost."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from fastwsgi import _impl
from tests.live import ROOT
from tests.starving import PARTS

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="no _testcapi in this Python"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    # The pure form is Python's, whose own objects are whole or not there.
    pytest.mark.skipif(not _impl.compiled, reason="it is the compiled code that could crash"),
]

# Not for leaks: Python 3.11 itself loses references then, such as a function's arguments where it cannot make a
# cell, or what list() and iterators over dicts were to read. Ours are told apart by counting, in tests.starving.
SANITIZED = (
    {"ASAN_OPTIONS": f"{os.environ['ASAN_OPTIONS']}:detect_leaks=0"} if "ASAN_OPTIONS" in os.environ else {}
)


@pytest.mark.parametrize("part", PARTS)
def test_every_allocation_may_fail(part: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.starving", part],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **SANITIZED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) > 0
