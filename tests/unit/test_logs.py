"""The error log's format and reopening; the access log's atoms, escapes, and what it does when writing fails."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwsgi import _impl
from fastwsgi.config.settings import Config
from fastwsgi.errors import ConfigError
from fastwsgi.logs import access_format, access_log, error_log
from fastwsgi.logs.access_log import AccessLog
from fastwsgi.logs.log_file import LogFileHandler

if TYPE_CHECKING:
    from pathlib import Path

COMBINED = Config().access_log_format
NOON = 1_700_000_000.25  # 14 Nov 2023 22:13:20 UTC
ENVIRON = {
    "REMOTE_ADDR": "192.0.2.7",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a%20b?x=1",
    "PATH_INFO": "/a b",
    "QUERY_STRING": "x=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_REFERER": "http://example.com/",
    "HTTP_USER_AGENT": "curl/8",
    "HTTP_X_FORWARDED_FOR": "198.51.100.1",
    "CONTENT_TYPE": "text/plain",
    "wsgi.url_scheme": "http",
    "wsgi.version": (1, 0),
}
HEADERS = [("Content-Type", "text/html"), ("X-Id", "7")]


pytestmark = pytest.mark.usefixtures("fresh_logs")


def line(fmt: str, environ: dict[str, Any] | None = None, **change: Any) -> str:
    """Format one line, without its end; compiled as pure."""
    lines: list[bytes] = []
    log = access_format.compile_format(fmt, lines.append, lambda: NOON)
    kept = _impl.Lines(fmt, lambda: NOON)
    values = {"status": "200 OK", "headers": HEADERS, "nbytes": 512, "seconds": 1.2345678, **change}
    log(ENVIRON if environ is None else environ, *values.values())
    kept.log(ENVIRON if environ is None else environ, *values.values())
    assert len(lines) == 1
    assert kept.take() == lines[0] + b"\n"
    return lines[0].decode()


# --- formats --------------------------------------------------------------------------------------------


def test_combined_format() -> None:
    assert line(COMBINED) == (
        '192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a%20b?x=1 HTTP/1.1" 200 512 '
        '"http://example.com/" "curl/8"'
    )


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        ("%(h)s", "192.0.2.7"),
        ("%(l)s", "-"),
        ("%(u)s", "-"),
        ("%(t)s", "[14/Nov/2023:22:13:20 +0000]"),
        ("%(r)s", "GET /a%20b?x=1 HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/a b"),
        ("%(q)s", "x=1"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(b)s", "512"),
        ("%(B)s", "512"),
        ("%(B)d", "512"),
        ("%(f)s", "http://example.com/"),
        ("%(a)s", "curl/8"),
        ("%(T)s", "1"),
        ("%(T)i", "1"),
        ("%(M)s", "1234"),
        ("%(D)s", "1234567"),
        ("%(L)s", "1.234568"),
        ("%(p)s", "<PID>"),
        ("%({x-forwarded-for}i)s", "198.51.100.1"),
        ("%({X-Forwarded-For}i)s", "198.51.100.1"),
        ("%({content-type}i)s", "text/plain"),
        ("%({content-type}o)s", "text/html"),
        ("%({X-ID}o)s", "7"),
        ("%({missing}i)s %({missing}o)s %({missing}e)s", "- - -"),
        ("%({REMOTE_ADDR}e)s %({remote_addr}e)s", "192.0.2.7 192.0.2.7"),
        ("%({wsgi.url_scheme}e)s %({wsgi.version}e)s", "http (1, 0)"),
        ("%({RAW_URI}e)s", "/a%20b?x=1"),
        ("%(nothing)s %({no such}i)s", "- -"),
        ("100%% %(m)s", "100% GET"),
        ("%%(r)s", "%(r)s"),
        (
            "%(m)8s|%(m)-8s|%(m).2s|%(B)06d|%(r)-40s|",
            f"     GET|GET     |GE|000512|{'GET /a%20b?x=1 HTTP/1.1':40}|",
        ),
        ("{%(m)s} '\\' \"q\"\ttab é", "{GET} '\\' \"q\"\ttab é"),
        ("no atoms", "no atoms"),
        ("{fast} {slow} {counts} {0} {{}}", "{fast} {slow} {counts} {0} {{}}"),
        ("", ""),
    ],
)
def test_atoms(fmt: str, expected: str) -> None:
    assert line(fmt) == expected.replace("PID", str(os.getpid()))


@pytest.mark.parametrize(
    "fmt", ["%", "50% %(m)s", "%(m", "%m", "%(m)", "%(m)d", "%(B)f", "%(t)q", "%({x}i)d"]
)
def test_a_bad_format_is_refused(fmt: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(fmt))):
        access_format.check_format(fmt)


def test_check_format_takes_the_default() -> None:
    access_format.check_format(COMBINED)


def test_a_request_of_which_little_is_known() -> None:
    assert line(COMBINED, {}, status="", headers=None, nbytes=0).endswith('] "- - -" - 0 "-" "-"')
    assert line("%(h)s %(U)s %(q)s %(r)9s", {"REMOTE_ADDR": ""}) == "- - -     - - -"
    assert line("%({x}o)s", headers=None) == "-"


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        ("Basic YWxhZGRpbjpvcGVuc2VzYW1l", "aladdin"),
        ("basic YWxhZGRpbjpvcGVuc2VzYW1l", "aladdin"),
        ("Basic YWxhZGRpbg==", "aladdin"),
        ("Basic Og==", "-"),
        ("Basic /w==", "-"),
        ("Basic !", "-"),
        ("Basic \xe9", "-"),
        ("Basic", "-"),
        ("Bearer YWxhZGRpbjpvcGVuc2VzYW1l", "-"),
        ("", "-"),
        ("Basic YSJiCmM6eA==", 'a\\"b\\x0ac'),
    ],
)
def test_user(authorization: str, user: str) -> None:
    assert line('"%(u)s"', {**ENVIRON, "HTTP_AUTHORIZATION": authorization}) == f'"{user}"'


def test_the_time_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [NOON]
    made: list[float] = []

    def stamp(second: float) -> str:
        made.append(second)
        return f"<{second:.0f}>"

    monkeypatch.setattr(access_format, "stamp_of", stamp)
    lines: list[bytes] = []
    log = access_format.compile_format("%(t)s", lines.append, lambda: now[0])
    kept = _impl.Lines("%(t)s", lambda: now[0])
    for each in (log, kept.log):
        made.clear()
        for now[0] in (5.0, 5.9, 6.0, 6.5, 5.5, 100.0):  # also backwards: clocks are set
            each({}, "200 OK", None, 0, 0.0)
        assert made == [5, 6, 5, 100]
    assert lines == [b"<5>", b"<5>", b"<6>", b"<6>", b"<5>", b"<100>"]
    assert kept.take().split() == lines


# --- what a client sent cannot forge --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", "a\\x0ab"),
        ("a\r\n127.0.0.1 - -", "a\\x0d\\x0a127.0.0.1 - -"),
        ('a"b', 'a\\"b'),
        ("a\\x22b", "a\\\\x22b"),
        ("\x1b[31m\x7f\0\t", "\\x1b[31m\\x7f\\x00\\x09"),
        ("caf\xc3\xa9", "caf\\xc3\\xa9"),
        ("\x85\u2028\ud800", "\\x85\\u2028\\ud800"),
        ("it's {fine} %(r)s", "it's {fine} %(r)s"),
    ],
)
@pytest.mark.parametrize(
    "key", ["RAW_URI", "HTTP_USER_AGENT", "HTTP_REFERER", "REMOTE_ADDR", "REQUEST_METHOD"]
)
def test_escapes(key: str, text: str, expected: str) -> None:
    assert line(COMBINED, {**ENVIRON, key: text}) == line(COMBINED, {**ENVIRON, key: "@@"}).replace(
        "@@", expected
    )


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        ('"%({x}i)s"', '"a\\x09\\"b"'),
        ("%({x}i)s\t%(m)s", 'a\\x09\\"b\tGET'),
        ("%({x}i)s", 'a\\x09\\"b'),
        ("é %({HTTP_X}e)s", 'é a\\x09\\"b'),
    ],
)
def test_only_the_format_brings_special_characters_in(fmt: str, expected: str) -> None:
    assert line(fmt, {**ENVIRON, "HTTP_X": 'a\t"b'}) == expected


@pytest.mark.parametrize("code", [*range(32), 34, 92, *range(127, 161)])
def test_each_special_character_is_escaped(code: int) -> None:
    escaped = f"\\{chr(code)}" if chr(code) in '"\\' else f"\\x{code:02x}"
    assert line("%({user-agent}i)s", {**ENVIRON, "HTTP_USER_AGENT": chr(code)}) == escaped


def test_response_headers_and_objects_are_escaped() -> None:
    assert line('"%({x-id}o)s"', headers=[("X-Id", 'a"\n')]) == '"a\\"\\x0a"'
    assert line('"%({thing}e)s"', {**ENVIRON, "thing": {"k": 'a"'}}) == "\"{'k': 'a\\\"'}\""
    assert line(COMBINED, {**ENVIRON, "HTTP_REFERER": 5}).endswith('"5" "curl/8"')


CLIENT_TEXT = st.text(max_size=30)


@given(CLIENT_TEXT, CLIENT_TEXT, CLIENT_TEXT, st.sampled_from([COMBINED, "%(a)s\t%(f)s %({RAW_URI}e)s"]))
def test_whatever_comes_a_request_is_one_line_of_printable_ascii(
    uri: str, referer: str, agent: str, fmt: str
) -> None:
    environ = {**ENVIRON, "RAW_URI": uri, "HTTP_REFERER": referer, "HTTP_USER_AGENT": agent}
    text = line(fmt, environ)
    assert text.isascii()
    assert text.replace("\t", "").isprintable()
    for special in '"\t':
        assert re.sub(r"\\.", "", text).count(special) == fmt.count(special)


# --- writing --------------------------------------------------------------------------------------------


def request(log: AccessLog, path: str = "/") -> None:
    log.log({"RAW_URI": path}, "200 OK", None, 1, 0.1)


URI = "%({RAW_URI}e)s"


def test_lines_wait_for_flush(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = AccessLog.open(str(path), URI)
    for n in range(3):
        request(log, f"/{n}")
    assert path.read_text() == "before\n"
    log.flush()
    log.flush()
    assert path.read_text() == "before\n/0\n/1\n/2\n"
    request(log, "/last")
    log.close()
    assert path.read_text().endswith("/last\n")


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog.open("-", URI)
    request(log)
    log.reopen()
    log.close()
    assert capfd.readouterr().out == "/\n"


def test_a_pipe_is_written_in_whole_lines_that_fit_its_buffer(disk: FailingDisk) -> None:
    reader, writer = os.pipe()
    log = AccessLog(writer, URI)
    for n in range(100):
        request(log, f"/{n}" * 40)
    request(log, "x" * 5000)
    request(log, "/end")
    log.flush()
    assert disk.taken.count(b"\n") == 102
    assert all(len(data) <= 4096 for data in disk.writes)
    assert [data for data in disk.writes if not data.endswith(b"\n")] == [b"x" * 4096]
    os.close(reader)
    os.close(writer)


def test_reopen_after_a_rename_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog.open(str(path), URI)
    request(log, "/1")
    log.flush()
    path.rename(tmp_path / "access.log.1")
    request(log, "/2")
    log.reopen()
    request(log, "/3")
    log.close()
    assert (tmp_path / "access.log.1").read_text() == "/1\n/2\n"
    assert path.read_text() == "/3\n"


def test_reopen_that_fails_keeps_the_old_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").mkdir()
    log = AccessLog.open(str(tmp_path / "logs" / "a"), URI)
    (tmp_path / "logs").rename(tmp_path / "moved")
    log.reopen()
    request(log)
    log.close()
    assert (tmp_path / "moved" / "a").read_text() == "/\n"
    assert "accesslog: cannot reopen" in caplog.text


def test_the_path_counts_from_where_the_log_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = AccessLog.open("a.log", URI)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    (tmp_path / "a.log").unlink()
    log.reopen()
    log.close()
    assert (tmp_path / "a.log").exists()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog.open(str(tmp_path / "no" / "log"), URI)


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@ROOT_ONLY
@pytest.mark.parametrize("kind", ["accesslog", "errorlog"])
def test_root_does_not_follow_links_of_others_to_what_is_not_theirs(tmp_path: Path, kind: str) -> None:
    """As whoever the workers are may put in their folder, before a start or between two rotations."""
    precious, link = tmp_path / "precious", tmp_path / "log"
    precious.write_text("as before\n")
    link.symlink_to(precious)
    os.lchown(link, 12345, 12345)

    def opened() -> None:
        if kind == "accesslog":
            AccessLog.open(str(link), URI).close()
        else:
            LogFileHandler(str(link)).close()

    refusal = pytest.raises((ConfigError, PermissionError), match=r"another user's link to a file")
    with refusal:
        opened()
    precious.unlink()
    with pytest.raises((ConfigError, FileNotFoundError), match="No such file"):
        opened()
    assert not precious.exists()  # nor is it made
    precious.touch()
    os.chown(precious, 12345, 12345)
    opened()
    # Root's own links, as container images have to /dev/stdout, lead anywhere.
    os.chown(precious, 54321, 54321)
    os.lchown(link, 0, 0)
    opened()
    precious.unlink()
    opened()
    assert precious.exists()


@ROOT_ONLY
@pytest.mark.parametrize("maker", [12345, 0])
def test_root_does_not_follow_links_of_others_in_the_place_of_a_folder(tmp_path: Path, maker: int) -> None:
    """Whoever has the folder above may have log files made, and given away, in any other by it."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir()
    theirs.mkdir()
    path = theirs / "logs" / "log"
    path.parent.symlink_to(mine)
    os.lchown(path.parent, maker, maker)
    os.chown(theirs, 12345, 12345)
    if maker == 0:
        path.parent.unlink()
        path.parent.symlink_to("../mine/../mine")  # root's own may lead anywhere
        AccessLog.open(str(path), URI).close()
        assert (mine / "log").exists()
        return
    with pytest.raises(PermissionError, match="another user's link"):
        AccessLog.open(str(path), URI)
    assert not list(mine.iterdir())
    os.chown(mine, maker, maker)
    AccessLog.open(str(path), URI).close()
    assert (mine / "log").exists()


@ROOT_ONLY
def test_root_opens_no_file_of_others_under_another_name(tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "folder"
    precious.touch()
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    (folder / "log").hardlink_to(precious)
    with pytest.raises(PermissionError, match="another name"):
        AccessLog.open(str(folder / "log"), URI)
    os.chown(precious, 12345, 12345)
    AccessLog.open(str(folder / "log"), URI).close()


@ROOT_ONLY
def test_another_users_fifo_does_not_hold_up_root(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    os.chown(path, 12345, 12345)
    with pytest.raises(OSError, match=r"FIFO|No such device"):  # without a reader, and with one
        AccessLog.open(str(path), URI)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(PermissionError, match="FIFO"):
        AccessLog.open(str(path), URI)
    os.chown(path, 0, 0)
    log = AccessLog.open(str(path), URI)
    request(log, "/1")
    log.close()
    assert os.read(reader, 100) == b"/1\n"
    os.close(reader)


@ROOT_ONLY
def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        AccessLog.open(str(tmp_path / "a"), URI)


@ROOT_ONLY
def test_standard_output_by_its_name() -> None:
    AccessLog.open("/dev/stdout", URI).close()
    AccessLog.open("/dev/null", URI).close()


@ROOT_ONLY
def test_reopen_leaves_a_file_that_a_link_was_put_in_place_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, precious = tmp_path / "access", tmp_path / "precious"
    precious.touch()
    log = AccessLog.open(str(path), URI)
    path.rename(tmp_path / "access.1")
    path.symlink_to(precious)
    os.lchown(path, 12345, 12345)
    log.reopen()
    request(log, "/2")
    log.close()
    assert (precious.read_text(), (tmp_path / "access.1").read_text()) == ("", "/2\n")
    assert "cannot reopen" in caplog.text


class FailingDisk:
    """Stands in for os.write on the log: takes what it is told to, then fails as it is told to."""

    fd: int | None = None  # the log's; None = of whatever is written to
    write = staticmethod(os.write)

    def __init__(self) -> None:
        self.taken = b""
        self.writes: list[bytes] = []
        self.plan: list[int | OSError] = []

    def __call__(self, fd: int, data: bytes) -> int:
        if self.fd not in (None, fd):
            return self.write(fd, data)
        step = self.plan.pop(0) if self.plan else len(data)
        if isinstance(step, OSError):
            raise step
        self.taken += data[:step]
        self.writes.append(data)
        return min(step, len(data))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FailingDisk:
    assert tmp_path.is_dir()  # made first: pytest writes a lock file for it
    disk = FailingDisk()
    monkeypatch.setattr(FailingDisk, "fd", None)
    monkeypatch.setattr(os, "write", disk)
    return disk


@pytest.fixture
def log(tmp_path: Path) -> AccessLog:
    FailingDisk.fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    return AccessLog(FailingDisk.fd, URI, str(tmp_path / "log"))


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_batch_is_one_write(disk: FailingDisk, log: AccessLog) -> None:
    for _ in range(1000):
        request(log, "/" * 9)
    log.flush()
    assert [len(data) for data in disk.writes] == [10_000]
    log.close()


def test_short_writes_are_continued(disk: FailingDisk, log: AccessLog) -> None:
    disk.plan = [1, 2, 3]
    request(log, "/12345678")
    log.flush()
    assert disk.taken == b"/12345678\n"
    log.close()


def test_a_full_disk_is_told_once_and_costs_lines_only(
    disk: FailingDisk, log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    disk.plan = [FULL, FULL, FULL]
    for _ in range(3):
        request(log)
        request(log)
        log.flush()
    assert [r.message for r in caplog.records] == [
        "access log: cannot write: No space left on device; lines are lost until that ends"
    ]
    assert log.lost == 6
    request(log, "/again")
    log.flush()
    assert caplog.records[-1].message == "access log: writing works again; 6 lines were lost"
    assert disk.taken == b"/again\n"
    assert log.lost == 0
    log.close()


def test_a_line_torn_by_a_full_disk_is_ended(disk: FailingDisk, log: AccessLog) -> None:
    request(log, "/1")
    request(log, "/torn")
    request(log, "/3")
    disk.plan = [5, FULL]
    log.flush()
    assert log.lost == 2
    request(log, "/4")
    log.flush()
    assert disk.taken == b"/1\n/t\n/4\n"
    log.close()


def test_a_full_pipe_keeps_its_lines_for_later(disk: FailingDisk, log: AccessLog) -> None:
    disk.plan = [2, BlockingIOError(errno.EAGAIN, "again"), BlockingIOError(errno.EAGAIN, "again")]
    request(log, "/1")
    log.flush()
    request(log, "/2")
    log.flush()
    log.flush()
    assert disk.taken == b"/1\n/2\n"
    assert log.lost == 0
    log.close()


def test_a_pipe_that_nobody_reads_does_not_fill_the_memory(
    disk: FailingDisk, log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    disk.plan = [BlockingIOError(errno.EAGAIN, "again")] * 2
    request(log, "x" * (access_log._MOST_WAITING - 10))
    log.flush()
    assert log.lost == 0
    request(log, "/12345678901")
    log.flush()
    assert log.lost == 2
    assert "its reader is too slow" in caplog.text
    log.flush()
    assert disk.taken == b""
    log.close()


# --- error log ------------------------------------------------------------------------------------------

ERROR_LINE = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[%d\] \[%s\] %s\n"


def test_error_log_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logger = error_log.setup(Config())
    assert logger.name == "fastwsgi.error"
    logger.info("hello %s", "world")
    logger.debug("not this")
    assert re.fullmatch(ERROR_LINE % (os.getpid(), "INFO", "hello world"), capsys.readouterr().err)
    assert not logger.propagate


def test_error_log_in_a_file_and_reopened(tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    logger = error_log.setup(Config(errorlog=str(path), loglevel="debug"))
    logger.debug("one")
    path.rename(tmp_path / "old")
    logger.debug("two")
    error_log.reopen()
    logger.debug("three")
    assert re.search("one\n.*two\n$", (tmp_path / "old").read_text())
    assert re.fullmatch(ERROR_LINE % (os.getpid(), "DEBUG", "three"), path.read_text())


def test_setup_again_moves_the_log(tmp_path: Path) -> None:
    first = error_log.setup(Config(errorlog=str(tmp_path / "1")))
    second = error_log.setup(Config(errorlog=str(tmp_path / "2"), loglevel="error"))
    assert first is second
    second.error("here")
    second.info("nowhere")
    assert (tmp_path / "1").read_text() == ""
    assert (tmp_path / "2").read_text().count("\n") == 1


def test_error_log_that_cannot_be_opened_leaves_the_old_one(tmp_path: Path) -> None:
    logger = error_log.setup(Config(errorlog=str(tmp_path / "1")))
    with pytest.raises(
        ConfigError, match=r"errorlog = '.*/no/log' .*: it cannot be opened: No such .*; name a"
    ):
        error_log.setup(Config(errorlog=str(tmp_path / "no" / "log")))
    logger.error("still")
    assert "still" in (tmp_path / "1").read_text()


def test_reopen_leaves_standard_error_alone() -> None:
    error_log.setup(Config())
    error_log.reopen()
