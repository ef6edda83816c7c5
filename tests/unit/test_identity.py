"""Who workers are: looked up, and taken on in processes of their own."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from fastwsgi.config import sources
from fastwsgi.errors import ConfigError
from fastwsgi.processes.identity import Identity
from tests.live import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from fastwsgi.config.settings import Config

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
NOBODY = pwd.getpwnam("nobody")
UNKNOWN = 4_000_000_001  # a number that no user and no group has


def config(**settings: object) -> Config:
    return sources.from_keywords(settings, {}, "/")


@pytest.fixture
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getegid", lambda: 0)


@pytest.fixture
def _as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY.pw_gid)


# --- looked up ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_as_root")
@pytest.mark.parametrize("user", ["nobody", NOBODY.pw_uid, str(NOBODY.pw_uid)])
def test_a_user_by_name_or_number_brings_its_group(user: object) -> None:
    assert Identity.of(config(user=user)) == (NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,), True)


@pytest.mark.usefixtures("_as_root")
def test_a_group_of_its_own() -> None:
    gid = grp.getgrnam("daemon").gr_gid
    assert Identity.of(config(user="nobody", group="daemon")) == (NOBODY.pw_uid, gid, (gid,), True)
    assert Identity.of(config(user=UNKNOWN, group=UNKNOWN)) == (UNKNOWN, UNKNOWN, (UNKNOWN,), True)
    assert Identity.of(config(group="daemon")) == (0, gid, (gid,), True)


@pytest.mark.usefixtures("_as_root")
def test_all_groups_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 7, 8] if name == "nobody" else [])
    assert Identity.of(config(user="nobody", initgroups=True)).groups == (NOBODY.pw_gid, 7, 8)
    assert Identity.of(config(user=NOBODY.pw_uid, group=9, initgroups=True)).groups == (9, 7, 8)


@pytest.mark.usefixtures("_as_root")
@pytest.mark.parametrize("settings", [{}, {"user": "root"}, {"user": 0, "group": 0}, {"initgroups": True}])
def test_root_stays_root_if_nothing_else_is_asked(settings: dict[str, object]) -> None:
    identity = Identity.of(config(**settings))
    assert identity[:2] == (0, 0)
    assert not identity.is_other


@pytest.mark.usefixtures("_as_nobody")
@pytest.mark.parametrize("settings", [{}, {"user": "nobody"}, {"user": NOBODY.pw_uid, "initgroups": True}])
def test_asking_for_oneself_is_fine(settings: dict[str, object]) -> None:
    assert not Identity.of(config(**settings)).is_other


MISTAKES = [
    ({"user": "nosuchuser"}, r"user = 'nosuchuser' \(serve\(\)\): there is no such user here"),
    ({"user": 2**32 - 1, "group": 0}, "user = 4294967295 .*: there is no such user here"),
    ({"group": "nosuchgroup"}, "group = 'nosuchgroup' .*: there is no such group here"),
    ({"group": 2**40}, "group = 1099511627776 .*: there is no such group here"),
    ({"user": UNKNOWN}, "user = 4000000001 .*: .*; set group as well"),
    ({"user": UNKNOWN, "group": 1, "initgroups": True}, "initgroups = True .*; set user to a name"),
]


@pytest.mark.usefixtures("_as_root")
@pytest.mark.parametrize(("settings", "words"), MISTAKES)
def test_mistakes_are_one_line(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Identity.of(config(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_as_nobody")
@pytest.mark.parametrize("setting", ["user", "group"])
def test_only_root_can_become_another(setting: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{setting} = 'daemon' .*: only root can change to another {setting}"
    ):
        Identity.of(config(**{setting: "daemon"}))


# --- taken on ----------------------------------------------------------------------------------------------


def run(script: str, *command: str, **settings: object) -> list[object]:
    """Run a script with `identity`, that of these settings, in a process of its own; return what it prints."""
    head = f"""
        import json, os
        from fastwsgi.config import sources
        from fastwsgi.errors import ConfigError
        from fastwsgi.processes.identity import Identity
        cfg = sources.from_keywords({settings!r}, {{}}, "/")
        identity = Identity.of(cfg)
    """
    done = subprocess.run(
        [*command, sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.root
@ROOT_ONLY
def test_it_is_taken_on_for_good() -> None:
    said = run(
        """
            os.setgroups([0, 1, 2])
            identity.take_on(cfg)
            print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups()]))
            identity.take_on(cfg)
            for back in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
                try:
                    back()
                except PermissionError:
                    print(json.dumps("refused"))
        """,
        user="nobody",
    )
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    assert said == [[[uid] * 3, [gid] * 3, [gid]], "refused", "refused", "refused"]


@pytest.mark.root
@ROOT_ONLY
def test_what_cannot_be_taken_on_is_an_error() -> None:
    probe = subprocess.run(["unshare", "-r", "true"], check=False) if shutil.which("unshare") else None
    if probe is None or probe.returncode:
        pytest.skip("takes unshare and user namespaces")
    # This root is the only user of its namespace: it can become nobody else.
    said = run(
        """
            try:
                identity.take_on(cfg)
            except ConfigError as exc:
                print(json.dumps(str(exc)), os.geteuid(), sep="\\n")
        """,
        "unshare",
        "-r",
        user="nobody",
    )
    assert said[1:] == [0]
    assert str(said[0]).startswith(f"cannot run as user {NOBODY.pw_uid}, group {NOBODY.pw_gid}: ")


@pytest.mark.root
@ROOT_ONLY
@pytest.mark.parametrize(
    ("setting", "mode", "verb"), [("chdir", 0o711, "read"), ("tmp_upload_dir", 0o755, "write to")]
)
def test_folders_that_the_user_has_no_access_to(
    public_path: Path, setting: str, mode: int, verb: str
) -> None:
    folder = public_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    script = """
        try:
            identity.take_on(cfg)
        except ConfigError as exc:
            print(json.dumps(str(exc)))
    """
    (said,) = run(script, user="nobody", **{setting: os.fspath(folder)})
    assert f"user {NOBODY.pw_uid} may not {verb} it" in str(said)
    folder.chmod(0o777)
    assert run(script, user="nobody", **{setting: os.fspath(folder)}) == []


def test_that_the_system_does_as_told_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, object]] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: called.append((name, value)))
    identity = Identity(UNKNOWN, UNKNOWN - 1, (UNKNOWN - 1, 7), is_other=True)
    with pytest.raises(ConfigError, match="the system did not take it on"):
        identity.take_on(config())
    assert called == [("setgroups", (UNKNOWN - 1, 7)), ("setgid", UNKNOWN - 1), ("setuid", UNKNOWN)]


@pytest.mark.root
@ROOT_ONLY
def test_log_files_are_given_away_and_nothing_else(tmp_path: Path) -> None:
    identity = Identity.of(config(user="nobody"))
    log, target, link, hard = (tmp_path / name for name in ("log", "target", "link", "hard"))
    for path in (log, target):
        path.touch()
    link.symlink_to(target)
    hard.hardlink_to(target)
    for path in (log, link, hard, tmp_path, tmp_path / "missing"):
        identity.own(os.fspath(path))
    assert (log.stat().st_uid, log.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert target.stat().st_uid == 0
    assert tmp_path.stat().st_uid == 0
    identity.own("/dev/null")
    assert os.stat("/dev/null").st_uid == 0
