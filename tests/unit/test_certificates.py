"""When certificate files have changed: by writing, by a rename, by links; and when they have not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi.config import sources
from fastwsgi.master.certificates import CertificateFiles

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("certfile", "keyfile", "ca_certs")


class Watched:
    """Three files, looked at every ten seconds."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        for name in NAMES:
            (folder / name).write_text("first")
        paths = {name: str(folder / name) for name in NAMES}
        self.cfg = sources.from_keywords(
            {"wsgi_app": "x:y", "watch_certificates": 10, **paths, **settings}, {}, "/"
        )
        self.files = CertificateFiles(self.cfg)
        self.now = 1000.0

    def look(self) -> bool:
        self.now += 10
        return self.files.have_changed(self.now)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    assert not made.look()
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_written(watched: Watched, name: str) -> None:
    watched.write(name, "second one")
    assert not watched.look()  # it may still be written
    assert watched.look()
    assert watched.look()  # not accepted yet
    watched.files.accept()
    assert not watched.look()


def test_files_that_are_written_one_after_the_other(watched: Watched) -> None:
    for name in NAMES:
        watched.write(name, f"{name} is another")
        assert not watched.look()
    assert watched.look()


def test_a_file_of_the_same_size_that_takes_the_place(watched: Watched) -> None:
    other = watched.folder / "other"
    other.write_text("third")
    os.utime(other, ns=(0, (watched.folder / "certfile").stat().st_mtime_ns))
    other.rename(watched.folder / "certfile")
    assert not watched.look()
    assert watched.look()


def test_links_as_of_certbot_and_kubernetes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in NAMES:
            (tmp_path / folder / name).write_text(folder)
    (tmp_path / "data").symlink_to("one")
    live = tmp_path / "live"
    live.mkdir()
    for name in NAMES:
        (live / name).symlink_to(tmp_path / "data" / name)
    watched = Watched.__new__(Watched)
    paths = {name: str(live / name) for name in NAMES}
    cfg = sources.from_keywords({"wsgi_app": "x:y", "watch_certificates": 10, **paths}, {}, "/")
    watched.files, watched.now = CertificateFiles(cfg), 1000.0
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "data")
    assert not watched.look()
    assert watched.look()


def test_what_holds_the_same_has_not_changed(watched: Watched) -> None:
    path = watched.folder / "certfile"
    os.utime(path, ns=(0, 0))
    path.chmod(0o600)
    assert [watched.look() for _ in range(3)] == [False] * 3
    watched.write("certfile", "second one")
    watched.write("certfile", "first")
    assert [watched.look() for _ in range(3)] == [False] * 3


def test_a_file_that_goes_and_comes(watched: Watched) -> None:
    path = watched.folder / "keyfile"
    path.unlink()
    assert [watched.look(), watched.look()] == [False, True]
    watched.files.accept()  # which fails
    assert not watched.look()
    path.write_text("back")
    assert [watched.look(), watched.look()] == [False, True]


def test_it_looks_only_when_it_is_time(watched: Watched) -> None:
    watched.write("certfile", "second one")
    assert not watched.look()
    assert not watched.files.have_changed(watched.now + 9)
    assert watched.files.next_tick(watched.now + 9) == 1
    assert watched.files.have_changed(watched.now + 10)


@pytest.mark.parametrize("settings", [{"watch_certificates": 0}, {"certfile": None, "keyfile": None}])
def test_never(tmp_path: Path, settings: dict[str, Any]) -> None:
    watched = Watched(tmp_path, **settings)
    watched.write("certfile", "second one")
    assert watched.files.next_tick(0.0) is None
    assert [watched.look(), watched.look()] == [False, False]


def test_a_pipe_is_left_to_who_loads_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    keeper = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(keeper, b"key")
        watched = Watched(tmp_path, keyfile=str(pipe))
        assert not watched.look()
        assert os.read(keeper, 100) == b"key"
    finally:
        os.close(keeper)
