"""The table of settings: each row is whole, and each kind of value reads what it should and nothing else."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from fastwsgi.config import kinds
from fastwsgi.config.kinds import SWITCH, Kind
from fastwsgi.config.legacy import LEGACY
from fastwsgi.config.settings import BY_NAME, SETTINGS, Config, Setting


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


def test_names_that_mean_nothing_here_are_not_in_the_table() -> None:
    assert not LEGACY.keys() & BY_NAME.keys()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (kinds.COUNT, "4", 4),
        (kinds.COUNT, " 4 ", 4),
        (kinds.COUNT, 4, 4),
        (kinds.COUNT, 4.5, 4),
        (kinds.LIMIT, 0, 0),
        (kinds.WORKERS, "auto", kinds.AUTO),
        (kinds.WORKERS, "12", 12),
        (kinds.SECONDS, "2.5", 2.5),
        (kinds.SECONDS, 3, 3.0),
        (kinds.SECONDS, "0", 0.0),
        (kinds.SIZE, "512", 512),
        (kinds.SIZE, 512, 512),
        (kinds.SIZE, "1k", 1024),
        (kinds.SIZE, "2 MB", 2 << 20),
        (kinds.SIZE, "1GiB", 1 << 30),
        (kinds.MASK, "022", 0o22),
        (kinds.MASK, "0o22", 0o22),
        (kinds.MASK, 18, 18),
        (kinds.MASK, "0", 0),
        (kinds.SWITCH, "yes", True),
        (kinds.SWITCH, "OFF", False),
        (kinds.SWITCH, 1, True),
        (kinds.SWITCH, False, False),
        (kinds.TEXT, " x ", "x"),
        (kinds.PATH, Path("/tmp/x"), "/tmp/x"),
        (kinds.ADDRESSES, "localhost:80", ("localhost:80",)),
        (kinds.ADDRESSES, ["a:1", "unix:/b"], ("a:1", "unix:/b")),
        (kinds.APP, "a:b", "a:b"),
        (kinds.APP, print, print),
        (kinds.WORKER_CLASS, "gthread", "gthread"),
        (kinds.WORKER_CLASS, " gevent ", "gevent"),
        (kinds.WORKER_CLASS, "gunicorn.workers.sync.SyncWorker", "sync"),
        (kinds.WORKER_CLASS, "gunicorn.workers.gthread.ThreadWorker", "gthread"),
        (kinds.WORKER_CLASS, "gunicorn.workers.ggevent.GeventWorker", "gevent"),
    ],
)
def test_parse(kind: Kind[Any], value: object, expected: object) -> None:
    result = kind.parse(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (kinds.COUNT, 0),
        (kinds.COUNT, "-1"),
        (kinds.COUNT, "many"),
        (kinds.COUNT, True),
        (kinds.COUNT, None),
        (kinds.COUNT, [1]),
        (kinds.LIMIT, -1),
        (kinds.WORKERS, "0"),
        (kinds.WORKERS, "automatic"),
        (kinds.SECONDS, "soon"),
        (kinds.SECONDS, -1),
        (kinds.SECONDS, "inf"),
        (kinds.SECONDS, "nan"),
        (kinds.SECONDS, True),
        (kinds.SIZE, "1T"),
        (kinds.SIZE, "-1"),
        (kinds.SIZE, -1),
        (kinds.SIZE, "1.5M"),
        (kinds.SIZE, "\u0661"),
        (kinds.MASK, "0o7777"),
        (kinds.MASK, "99999"),
        (kinds.MASK, -1),
        (kinds.SWITCH, "maybe"),
        (kinds.SWITCH, 2),
        (kinds.SWITCH, None),
        (kinds.TEXT, 3),
        (kinds.TEXT, "a\nb"),
        (kinds.PATH, "a\0b"),
        (kinds.ADDRESSES, []),
        (kinds.ADDRESSES, [""]),
        (kinds.ADDRESSES, 8000),
        (kinds.ADDRESSES, [8000]),
        (kinds.APP, 3),
        (kinds.WORKER_CLASS, "eventlet"),
        (kinds.WORKER_CLASS, "tornado"),
        (kinds.WORKER_CLASS, "uvicorn.workers.UvicornWorker"),
        (kinds.WORKER_CLASS, ""),
        (kinds.WORKER_CLASS, None),
        (kinds.WORKER_CLASS, int),
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
    assert theirs.keys() - ours == LEGACY.keys()
    # Read from the environment or of this machine, of a type of ours, or None for what is not set.
    differs = {
        "chdir",
        "sendfile",
        "config",
        "user",
        "group",
        "default_proc_name",
        "logger_class",
        "logconfig_dict",
    }
    for name in ours:
        for flag in theirs[name].cli or ():
            assert flag in BY_NAME[name].flags
        default = theirs[name].default
        if name in differs or theirs[name].section == "Server Hooks":
            assert BY_NAME[name].default in (None, ".", True), name
        else:
            assert BY_NAME[name].parse(default) == BY_NAME[name].default, name


def test_flags_of_names_that_mean_nothing_here_are_gunicorns() -> None:
    known = pytest.importorskip("gunicorn.config").KNOWN_SETTINGS
    theirs = {setting.name: setting for setting in known}
    for name, row in LEGACY.items():
        assert row.flags == tuple(theirs[name].cli or ()), name
        assert row.is_switch == (theirs[name].action == "store_true"), name
