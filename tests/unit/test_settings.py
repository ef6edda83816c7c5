"""The table of settings: each row is whole, and each kind of value reads what it should and nothing else."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from fastwsgi import settings
from fastwsgi.settings import NOT_YET, SETTINGS, SWITCH, Config, Kind, Setting

BY_NAME = {setting.name: setting for setting in SETTINGS}


def test_every_field_of_config_is_a_row_of_the_table() -> None:
    names = [f.name for f in fields(Config) if f.name != "origins"]
    assert [s.name for s in SETTINGS] == names


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_default_is_what_its_own_kind_reads(setting: Setting) -> None:
    value = setting.parse(setting.default)
    assert value == setting.default
    assert type(value) is type(setting.default)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.default is not None], ids=lambda s: s.name)
def test_what_is_shown_can_be_read_again(setting: Setting) -> None:
    assert setting.parse(setting.show(setting.default)) == setting.default


def test_flags_are_unique() -> None:
    flags = [flag for setting in SETTINGS for flag in setting.flags]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_help_is_one_sentence_and_a_value_has_a_name(setting: Setting) -> None:
    assert setting.help.endswith(".")
    assert bool(setting.kind.metavar) == (setting.kind is not SWITCH)


def test_sections_are_contiguous() -> None:
    sections = [s.section for s in SETTINGS]
    assert len(dict.fromkeys(sections)) == sum(
        a != b for a, b in zip(sections, [None, *sections], strict=False)
    )


def test_config_is_immutable_and_compares_by_its_settings() -> None:
    cfg = Config(workers=3)
    with pytest.raises(FrozenInstanceError):
        cfg.workers = 4  # type: ignore[misc]
    assert cfg == Config(workers=3, origins={"workers": "test"})
    assert cfg != Config()


def test_names_that_are_not_supported_yet_are_not_in_the_table() -> None:
    assert not NOT_YET & BY_NAME.keys()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (settings.COUNT, "4", 4),
        (settings.COUNT, " 4 ", 4),
        (settings.COUNT, 4, 4),
        (settings.COUNT, 4.5, 4),
        (settings.LIMIT, 0, 0),
        (settings.WORKERS, "auto", settings.AUTO),
        (settings.WORKERS, "12", 12),
        (settings.SECONDS, "2.5", 2.5),
        (settings.SECONDS, 3, 3.0),
        (settings.SECONDS, "0", 0.0),
        (settings.SIZE, "512", 512),
        (settings.SIZE, 512, 512),
        (settings.SIZE, "1k", 1024),
        (settings.SIZE, "2 MB", 2 << 20),
        (settings.SIZE, "1GiB", 1 << 30),
        (settings.MASK, "022", 0o22),
        (settings.MASK, "0o22", 0o22),
        (settings.MASK, 18, 18),
        (settings.MASK, "0", 0),
        (settings.SWITCH, "yes", True),
        (settings.SWITCH, "OFF", False),
        (settings.SWITCH, 1, True),
        (settings.SWITCH, False, False),
        (settings.TEXT, " x ", "x"),
        (settings.PATH, Path("/tmp/x"), "/tmp/x"),
        (settings.ADDRESSES, "localhost:80", ("localhost:80",)),
        (settings.ADDRESSES, ["a:1", "unix:/b"], ("a:1", "unix:/b")),
        (settings.APP, "a:b", "a:b"),
        (settings.APP, print, print),
        (settings.WORKER_CLASS, "gthread", "gthread"),
        (settings.WORKER_CLASS, " gevent ", "gevent"),
        (settings.WORKER_CLASS, "gunicorn.workers.sync.SyncWorker", "sync"),
        (settings.WORKER_CLASS, "gunicorn.workers.gthread.ThreadWorker", "gthread"),
        (settings.WORKER_CLASS, "gunicorn.workers.ggevent.GeventWorker", "gevent"),
    ],
)
def test_parse(kind: Kind[Any], value: object, expected: object) -> None:
    result = kind.parse(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (settings.COUNT, 0),
        (settings.COUNT, "-1"),
        (settings.COUNT, "many"),
        (settings.COUNT, True),
        (settings.COUNT, None),
        (settings.COUNT, [1]),
        (settings.LIMIT, -1),
        (settings.WORKERS, "0"),
        (settings.WORKERS, "automatic"),
        (settings.SECONDS, "soon"),
        (settings.SECONDS, -1),
        (settings.SECONDS, "inf"),
        (settings.SECONDS, "nan"),
        (settings.SECONDS, True),
        (settings.SIZE, "1T"),
        (settings.SIZE, "-1"),
        (settings.SIZE, -1),
        (settings.SIZE, "1.5M"),
        (settings.SIZE, "\u0661"),
        (settings.MASK, "0o7777"),
        (settings.MASK, "99999"),
        (settings.MASK, -1),
        (settings.SWITCH, "maybe"),
        (settings.SWITCH, 2),
        (settings.SWITCH, None),
        (settings.TEXT, 3),
        (settings.TEXT, "a\nb"),
        (settings.PATH, "a\0b"),
        (settings.ADDRESSES, []),
        (settings.ADDRESSES, [""]),
        (settings.ADDRESSES, 8000),
        (settings.ADDRESSES, [8000]),
        (settings.APP, 3),
        (settings.WORKER_CLASS, "eventlet"),
        (settings.WORKER_CLASS, "tornado"),
        (settings.WORKER_CLASS, "uvicorn.workers.UvicornWorker"),
        (settings.WORKER_CLASS, ""),
        (settings.WORKER_CLASS, None),
        (settings.WORKER_CLASS, int),
        (BY_NAME["loglevel"].kind, "loud"),
        (BY_NAME["header_map"].kind, "keep"),
    ],
)
def test_parse_refuses(kind: Kind[Any], value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        kind.parse(value)


@pytest.mark.parametrize("empty", [None, ""])
def test_nothing_means_not_set_only_where_that_is_the_default(empty: object) -> None:
    assert BY_NAME["pidfile"].parse(empty) is None
    with pytest.raises((ValueError, TypeError)):
        BY_NAME["workers"].parse(empty)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("limit_request_body", 1 << 30, "1G"),
        ("limit_request_body", 1000, "1000"),
        ("limit_request_body", 0, "0"),
        ("timeout", 30.0, "30"),
        ("timeout", 0.5, "0.5"),
        ("umask", 0o22, "0022"),
        ("sendfile", True, "on"),
        ("pidfile", None, "none"),
        ("bind", ("a:1", "b:2"), "a:1, b:2"),
        ("wsgi_app", test_flags_are_unique, "<test_flags_are_unique>"),
    ],
)
def test_show(name: str, value: object, shown: str) -> None:
    assert BY_NAME[name].show(value) == shown


def test_names_flags_and_defaults_are_gunicorns() -> None:
    known = pytest.importorskip("gunicorn.config").KNOWN_SETTINGS
    theirs = {setting.name: setting for setting in known}
    ours = BY_NAME.keys() & theirs.keys()
    assert theirs.keys() - ours == NOT_YET
    differs = {
        "bind",
        "chdir",
        "sendfile",
        "config",
        "workers",
    }  # read from the environment, or a type of ours
    for name in ours:
        for flag in theirs[name].cli or ():
            assert flag in BY_NAME[name].flags
        if name not in differs:
            assert BY_NAME[name].default == theirs[name].default, name
