"""Configurations with their sockets, logs and pidfiles: what they share, and when it is closed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.config import sources
from fastwsgi.errors import ConfigError
from fastwsgi.master.generation import Generation
from fastwsgi.processes import memory
from fastwsgi.processes.launch import Launch

if TYPE_CHECKING:
    from pathlib import Path

    from fastwsgi.config.settings import Config

TCP = "127.0.0.1:0"


def config(folder: Path, **settings: Any) -> Config:
    settings = {"wsgi_app": "x:y", "bind": [TCP], **settings}
    return sources.from_keywords(settings, {}, os.fspath(folder))


def first(folder: Path, **settings: Any) -> Generation:
    return Generation.first(config(folder, **settings), Launch.take({}, os.fspath(folder)))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_has_not_changed_is_shared(tmp_path: Path) -> None:
    settings = {"accesslog": f"{tmp_path}/access", "pidfile": f"{tmp_path}/pid"}
    old = first(tmp_path, **settings)
    new = Generation.next(config(tmp_path, workers=3, **settings), 1, [old])
    assert new.listeners == old.listeners
    assert new.access_log is old.access_log
    assert new.pidfile is old.pidfile
    assert old.close(kept=[new]) == []
    assert (tmp_path / "pid").exists()
    assert len(new.close()) == 1
    assert not (tmp_path / "pid").exists()


def test_what_has_changed_is_opened_beside(tmp_path: Path) -> None:
    before = open_descriptors()
    old = first(tmp_path, bind=[TCP, f"unix:{tmp_path}/a"], pidfile=f"{tmp_path}/one")
    new = Generation.next(
        config(
            tmp_path, bind=[f"unix:{tmp_path}/b", TCP], pidfile=f"{tmp_path}/two", accesslog=f"{tmp_path}/log"
        ),
        1,
        [old],
    )
    assert new.listeners[1] is old.listeners[0]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "one", "two", "log"}
    assert old.close(kept=[new]) == [old.listeners[1]]
    assert {path.name for path in tmp_path.iterdir()} == {"b", "two", "log"}
    new.close()
    assert {path.name for path in tmp_path.iterdir()} == {"log"}
    assert open_descriptors() == before


def test_back_to_what_is_still_there(tmp_path: Path) -> None:
    """A second reload, before the first has got anywhere, wants what that one left out."""
    settings = {"bind": [TCP, f"unix:{tmp_path}/a"], "pidfile": f"{tmp_path}/one"}
    one = first(tmp_path, **settings)
    two = Generation.next(config(tmp_path, pidfile=f"{tmp_path}/two"), 1, [one])
    three = Generation.next(config(tmp_path, **settings), 2, [one, two])
    assert three.listeners == one.listeners
    assert three.pidfile is one.pidfile
    assert two.close(kept=[one, three]) == one.close(kept=[three]) == []
    assert {path.name for path in tmp_path.iterdir()} == {"a", "one"}
    three.close()


def test_two_that_are_closed_for_a_third_share_a_log(tmp_path: Path) -> None:
    before = open_descriptors()
    one = first(tmp_path, accesslog=f"{tmp_path}/shared")
    two = Generation.next(config(tmp_path, accesslog=f"{tmp_path}/shared"), 1, [one])
    three = Generation.next(config(tmp_path, accesslog=f"{tmp_path}/another"), 2, [one, two])
    one.close(kept=[three])
    with open(os.devnull, "rb") as innocent:  # has the number of the log that is closed
        two.close(kept=[three])
        assert innocent.read() == b""
    three.close()
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "mistake",
    [
        {"accesslog": "/nonexistent/log"},
        {"pidfile": "/nonexistent/pid"},
        {"bind": [TCP, "unix:new", "127.0.0.1:nothing"]},
    ],
    ids=["accesslog", "pidfile", "bind"],
)
def test_all_or_nothing(tmp_path: Path, mistake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old = first(tmp_path, pidfile=f"{tmp_path}/pid")
    before = open_descriptors()
    settings = {
        "bind": [TCP, "unix:other"],
        "accesslog": f"{tmp_path}/log",
        "pidfile": f"{tmp_path}/new",
        **mistake,
    }
    with pytest.raises(ConfigError):
        Generation.next(config(tmp_path, **settings), 1, [old])
    assert open_descriptors() == before
    assert {path.name for path in tmp_path.iterdir()} - {"log"} == {"pid"}
    old.close()


def test_the_memory_of_a_process_is_known_on_linux_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "IS_KNOWN", False)
    with pytest.raises(ConfigError, match=r"^max_worker_memory = 1048576 .*: only Linux tells"):
        first(tmp_path, max_worker_memory="1M")


@pytest.mark.skipif(not memory.IS_KNOWN, reason="/proc is Linux's")
def test_memory_of_ones_own() -> None:
    before = memory.own_memory(os.getpid())
    mine = b"x" * (64 << 20)
    grown = memory.own_memory(os.getpid()) - before
    assert (60 << 20) < grown < (80 << 20)
    del mine
    assert memory.own_memory(2**22 + 1) == 0
