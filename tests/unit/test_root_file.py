"""Files that root opens where links lead to what has no path: descriptors, by their names in /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastwsgi.processes.root_file import open_as_root

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd", "/proc/{pid}/fd"])
def test_a_pipe_by_the_number_of_its_descriptor(folder: str) -> None:
    folder = folder.format(pid=os.getpid())
    if not Path(folder).is_dir():
        pytest.skip(f"no {folder} here")
    reader, writer = os.pipe()
    try:
        fd = open_as_root(f"{folder}/{writer}", os.O_WRONLY)
        os.write(fd, b"line\n")
        os.close(fd)
        assert os.read(reader, 100) == b"line\n"
    finally:
        os.close(reader)
        os.close(writer)
