"""HUP with real processes: every setting is applied, or none; and nobody notices who need not."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import DEADLINE, ENGINE, LiveServer, Peer, head
from tests.processes import children, descriptors, eventually, wait_for_end, wait_for_workers
from tests.traffic import Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.gate import Gate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Deployment:
    """A folder with gunicorn.conf.py and the module `site_app`, and the server that runs it."""

    def __init__(self, folder: Path, live: Callable[..., LiveServer]) -> None:
        self.folder = folder
        self._live = live
        self.server: LiveServer

    def configure(self, **settings: object) -> None:
        settings = {"bind": "127.0.0.1:0", "loglevel": "debug", **settings}
        text = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        (self.folder / "gunicorn.conf.py").write_text(text)

    def release(self, text: str, prelude: str = "") -> None:
        """Put an app there that answers with `text`."""
        app = f"""
            def app(environ, start_response):
                start_response("200 OK", [("Content-Length", "{len(text)}")])
                return [b"{text}"]
        """
        (self.folder / "site_app.py").write_text(f"{prelude}\n{textwrap.dedent(app)}")

    def start(self, app: str = "site_app:app", /, **settings: object) -> LiveServer:
        self.configure(**settings)
        return self.run(app)

    def run(self, app: str = "site_app:app") -> LiveServer:
        env = {"PYTHONDONTWRITEBYTECODE": "1"}
        self.server = self._live(app, bind=None, cwd=os.fspath(self.folder), env=env)
        return self.server

    def hup(self, pattern: str) -> str:
        """Reload, and return what the log says in reply, the first group of it."""
        start = len(self.server.log.lines)
        self.server.send_signal(signal.SIGHUP)
        found = self.server.wait_for_log(pattern, start=start)
        return str(found[1]) if found.re.groups else ""

    def replace_all(self) -> None:
        """Reload, and wait until none of the workers is left that were there."""
        before = children(self.server.pid)
        self.hup("Reload complete")
        for pid in before:
            wait_for_end(pid)

    def listens_at(self, start: int = 0) -> tuple[str, int]:
        found = self.server.wait_for_log(r"Listening at: http://([\d.]+):(\d+)", start=start)
        return found[1], int(found[2])


@pytest.fixture
def site(tmp_path: Path, live: Callable[..., LiveServer]) -> Deployment:
    deployment = Deployment(tmp_path, live)
    deployment.release("one")
    return deployment


def get(address: tuple[str, int] | str) -> str:
    with Peer(address) as peer:
        return peer.request(head("/", "Connection: close")).text


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


# --- addresses -----------------------------------------------------------------------------------------------


def test_another_address_comes_and_goes_under_load(site: Deployment, rng: random.Random) -> None:
    """The first is served throughout; on the second, whoever was connected before it went is answered."""
    server = site.start("tests.apps.traffic:app", workers=2)
    wait_for_workers(server, 2)
    with Traffic(server.address, clients=6, seed=rng.getrandbits(32)) as load:
        load.wait_for(50)
        site.configure(workers=2, bind=["127.0.0.1:0", "127.0.0.2:0"])
        start = len(server.log.lines)
        site.replace_all()
        second = site.listens_at(start)
        assert second != server.address
        with Traffic(second, clients=6, seed=rng.getrandbits(32)) as other:
            other.wait_for(50)
            load.wait_for(50)
            other.expect_the_end()
            site.configure(workers=2)
            site.replace_all()
            other.join()
        server.wait_for_log(f"No longer listening at: http://127.0.0.2:{second[1]}", start=start)
        assert is_refused(second)
        load.wait_for(50)
    assert load.failures == other.failures == []
    assert load.refused == 0
    assert load.told_to_close > 0


def test_all_addresses_change_at_once(site: Deployment, tmp_path: Path) -> None:
    server = site.start(workers=2)
    first = site.listens_at()
    wait_for_workers(server, 2)
    site.configure(workers=2, bind=f"unix:{tmp_path}/app.sock")
    site.replace_all()
    assert get(f"{tmp_path}/app.sock") == "one"
    eventually(lambda: is_refused(first))
    start = len(server.log.lines)
    site.configure(workers=2, bind="127.0.0.3:0")
    site.replace_all()
    assert get(site.listens_at(start)) == "one"
    eventually(lambda: not (tmp_path / "app.sock").exists())


def test_from_one_interface_to_all_with_the_same_port(site: Deployment, rng: random.Random) -> None:
    server = site.start("tests.apps.traffic:app", workers=2)
    host, port = site.listens_at()
    wait_for_workers(server, 2)
    with Traffic((host, port), clients=6, seed=rng.getrandbits(32)) as load:
        load.wait_for(50)
        site.configure(workers=2, bind=f"0.0.0.0:{port}")
        site.replace_all()
        load.wait_for(50)
    # Connections that came to the one socket just when it closed may be lost, and none else.
    assert len(load.failures) <= 2, load.failures
    assert get(("127.0.0.2", port)) == ""


@pytest.mark.skipif(bool(ENGINE), reason="a worker with threads or greenlets is not busy with one request")
def test_a_connection_in_the_backlog_of_an_address_that_goes(site: Deployment, gate: Gate) -> None:
    """It was made while the only worker was busy, and is answered by that one."""
    site.release("one", "import pathlib")
    server = site.start("tests.apps.processes:app", bind=["127.0.0.1:0", "127.0.0.2:0"], threads=1)
    second = server.wait_for_log(r"Listening at: http://127.0.0.2:(\d+)")[1]
    (old,) = wait_for_workers(server, 1)
    first = gate.enter(server)
    with Peer(("127.0.0.2", int(second))) as waiting:
        waiting.send(head("/"))
        site.configure()
        site.hup("Reload complete")
        gate.open()
        assert first.response().text == str(old)
        first.sock.close()
        reply = waiting.response()
    assert reply.text == str(old)
    assert reply.get("Connection") == "close"
    wait_for_end(old)
    eventually(lambda: is_refused(("127.0.0.2", int(second))))


def test_an_address_that_cannot_be_had_changes_nothing(site: Deployment, tmp_path: Path) -> None:
    server = site.start(workers=2, pidfile=os.fspath(tmp_path / "pid"))
    workers = wait_for_workers(server, 2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        bind = ["127.0.0.1:0", f"unix:{tmp_path}/new.sock", taken]
        site.configure(workers=3, bind=bind, pidfile=os.fspath(tmp_path / "other"))
        said = site.hup("Reload refused, the workers in service stay: (.*)")
    assert taken in said
    assert "in use by another server" in said
    assert children(server.pid) == workers
    assert get(server.address) == "one"
    assert not (tmp_path / "new.sock").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in ("pid", "other")) == ["pid"]


# --- all, or nothing -----------------------------------------------------------------------------------------


def test_every_setting_of_the_master(site: Deployment, tmp_path: Path) -> None:
    server = site.start(workers=2, bind=["127.0.0.1:0", f"unix:{tmp_path}/app.sock"])
    (tmp_path / "logs").mkdir()
    for name, umask in (("one", 0o007), ("two", 0o077)):
        old = wait_for_workers(server, 2) if name == "one" else children(server.pid)
        site.release(name)
        site.configure(
            bind=["127.0.0.1:0", f"unix:{tmp_path}/app.sock"],
            workers=2,
            umask=umask,
            backlog=100,
            pidfile=os.fspath(tmp_path / f"{name}.pid"),
            accesslog=os.fspath(tmp_path / f"{name}.access"),
            errorlog=os.fspath(tmp_path / f"{name}.error"),
            access_log_format=f"{name} %(U)s",
        )
        server.send_signal(signal.SIGHUP)
        for pid in old:
            wait_for_end(pid)
        eventually(lambda name=name: "Reload complete" in (tmp_path / f"{name}.error").read_text())  # type: ignore[misc]
        assert get(f"{tmp_path}/app.sock") == name
        assert get(server.address) == name
        eventually(lambda name=name: f"{name} /\n" in (tmp_path / f"{name}.access").read_text())  # type: ignore[misc]
        assert (tmp_path / f"{name}.pid").read_text() == f"{server.pid}\n"
        assert stat.S_IMODE((tmp_path / "app.sock").stat().st_mode) == 0o777 & ~umask
    eventually(lambda: not (tmp_path / "one.pid").exists())
    server.stop()
    assert not (tmp_path / "two.pid").exists()


def test_code_that_does_not_boot_takes_its_settings_back(site: Deployment, tmp_path: Path) -> None:
    """Pidfile, addresses, logs and the number of workers are those of the workers that stay."""

    def settings(name: str) -> dict[str, Any]:
        return {
            "pidfile": os.fspath(tmp_path / f"{name}.pid"),
            "accesslog": os.fspath(tmp_path / f"{name}.access"),
            "access_log_format": f"{name} %(U)s",
            "bind": ["127.0.0.1:0", f"unix:{tmp_path}/{name}.sock"],
        }

    server = site.start(workers=2, **settings("first"))
    server.allow_traceback = True
    workers = wait_for_workers(server, 2)
    site.release("two", "raise RuntimeError('bad release')")
    site.configure(workers=1, **settings("second"))
    site.hup("Reload failed: the new worker did not boot; the workers in service .2. and their configuration")
    assert children(server.pid) == workers
    assert get(server.address) == get(f"{tmp_path}/first.sock") == "one"
    eventually(lambda: (tmp_path / "first.access").read_text().count("first /") == 2)
    eventually(lambda: not (tmp_path / "second.sock").exists())
    assert (tmp_path / "first.pid").read_text() == f"{server.pid}\n"
    eventually(lambda: not (tmp_path / "second.pid").exists())
    # Mended, it is all taken over.
    site.release("three")
    site.replace_all()
    assert get(f"{tmp_path}/second.sock") == "three"
    eventually(lambda: not (tmp_path / "first.sock").exists())
    assert (tmp_path / "second.pid").exists()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("workers = 'many'", "workers = 'many'"),
        ("workers = (", "gunicorn.conf.py"),
        ("import no_such_module", "no_such_module"),
        ("raise SystemExit(1)", "gunicorn.conf.py"),
        ("certfile = '/nonexistent'\nerrorlog = '/nonexistent/log'", "/nonexistent"),
        ("accesslog = '/nonexistent/log'", "accesslog = '/nonexistent/log'"),
        ("pidfile = '/nonexistent/pid'", "/nonexistent/pid"),
        ("bind = '192.0.2.1:0'", "192.0.2.1"),
    ],
)
def test_a_configuration_that_does_not_do(site: Deployment, broken: str, words: str) -> None:
    server = site.start()
    workers = wait_for_workers(server, 1)
    before = descriptors(server.pid)
    (site.folder / "gunicorn.conf.py").write_text(f"loglevel = 'debug'\n{broken}\n")
    assert words in site.hup("Reload refused, the workers in service stay: (.*)")
    assert children(server.pid) == workers
    assert get(server.address) == "one"
    assert descriptors(server.pid) == before


def test_warnings_of_the_configuration_are_in_the_log(site: Deployment) -> None:
    server = site.start()
    wait_for_workers(server, 1)
    with (site.folder / "gunicorn.conf.py").open("a") as file:
        file.write("worker_clas = 'sync'\n")
    assert "worker_class" in site.hup(r"\[WARNING\] (.*worker_clas\b.*)")


# --- number, and what is left ----------------------------------------------------------------------------------


def test_the_number_of_workers_under_load(site: Deployment, rng: random.Random) -> None:
    server = site.start("tests.apps.traffic:app", workers=2)
    wait_for_workers(server, 2)
    with Traffic(server.address, clients=8, seed=rng.getrandbits(32)) as load:
        for count in (4, 1, 3):
            load.wait_for(50)
            site.configure(workers=count)
            before = children(server.pid)
            site.hup(f"Reload complete, workers in service: {count}")
            for pid in before:
                wait_for_end(pid)
            assert len(wait_for_workers(server, count)) == count
    assert load.failures == []
    assert load.told_to_close > 0


def test_nothing_is_left_of_many_reloads(site: Deployment, tmp_path: Path) -> None:
    """Descriptors of the master and of a worker are as many as before, and there are no zombies."""

    def configure(number: int) -> None:
        name = "even" if number % 2 == 0 else "odd"
        site.configure(
            workers=2,
            bind=["127.0.0.1:0", f"unix:{tmp_path}/{name}.sock"],
            accesslog=os.fspath(tmp_path / f"{name}.access"),
            pidfile=os.fspath(tmp_path / f"{name}.pid"),
        )

    def counts() -> list[int]:
        eventually(lambda: [path.name for path in tmp_path.glob("*.sock")] == ["even.sock"])
        eventually(lambda: len(children(server.pid)) == 2)
        # What the master did before it answers this is done; but it then has a log open twice for a moment.
        start = len(server.log.lines)
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("Handling signal: usr1", start=start)
        return [descriptors(pid) for pid in (server.pid, *children(server.pid))]

    configure(0)
    server = site.run()
    wait_for_workers(server, 2)
    for number in (1, 2):
        configure(number)
        site.replace_all()
    before = min(counts() for _ in range(3))
    for number in range(3, 11):
        configure(number)
        site.replace_all()
    eventually(lambda: counts() == before)


# --- a boot that does not end ----------------------------------------------------------------------------------

BOOT_TIMEOUT = "2"  # seconds; a machine that is busy must get as far as the app in them


def test_a_first_boot_that_takes_too_long_is_explained_and_ends_the_server(
    site: Deployment, gate: Gate
) -> None:
    site.release("never", f"open({os.fspath(gate.path)!r}).read()")
    server = LiveServer("site_app:app", "--boot-timeout", BOOT_TIMEOUT, cwd=os.fspath(site.folder))
    assert server.wait() == 3
    assert "WORKER BOOT TIMEOUT" in server.log.text
    assert 'site_app.py", line 1 in <module>' in server.log.text


def test_a_reload_whose_code_hangs_at_import(site: Deployment, gate: Gate) -> None:
    server = site.start()
    workers = wait_for_workers(server, 1)
    site.configure(boot_timeout=float(BOOT_TIMEOUT))
    site.release("never", f"open({os.fspath(gate.path)!r}).read()")
    site.hup("Reload failed: the new worker did not boot; the workers in service .1.")
    server.wait_for_log('site_app.py", line 1 in <module>')
    assert get(server.address) == "one"
    eventually(lambda: children(server.pid) == workers)


def test_told_to_stop_before_a_reload_has_proved_itself(site: Deployment, gate: Gate, tmp_path: Path) -> None:
    """Both configurations are in the master then; what they share is closed once."""
    pidfile, access_log = tmp_path / "pid", tmp_path / "access"
    server = site.start(accesslog=str(access_log), pidfile=str(pidfile), bind=f"unix:{tmp_path}/s")
    wait_for_workers(server, 1)
    site.release("never", f"open({os.fspath(gate.path)!r}).read()")
    site.hup("Booting worker")
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "Traceback" not in server.log.text
    assert not pidfile.exists()
    assert not (tmp_path / "s").exists()
