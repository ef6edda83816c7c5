"""Fixtures of the whole suite. One run tests one implementation; `make test` runs the suite twice."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.certificates import Authority, Issued
from tests.gate import Gate
from tests.live import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="order of the tests, and of what they draw")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several processes, which shuffle alike
        config.option.seed = config.workerinput["seed"]
    elif config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(2**32)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_configure_node(node: Any) -> None:
    node.workerinput["seed"] = node.config.option.seed


def pytest_report_header(config: pytest.Config) -> str:
    from fastwsgi import _impl

    return f"fastwsgi: {_impl.describe()}; --seed={config.option.seed}"


@pytest.hookimpl(tryfirst=True)  # before pytest brings tests that share a fixture together
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle modules, and tests in each: what passes only in file order hides a dependency."""
    rng = random.Random(config.option.seed)
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    groups = list(modules.values())
    rng.shuffle(groups)
    for group in groups:
        rng.shuffle(group)
    items[:] = [item for group in groups for item in group]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Return randomness that `--seed` repeats, whatever the order of the tests."""
    return random.Random(f"{request.config.option.seed}{request.node.nodeid}")


@pytest.fixture(scope="session")
def compiled() -> bool:
    """Return whether this run tests the compiled implementation."""
    from fastwsgi import _impl

    return _impl.compiled


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority whose certificates clients trust; for tests with `needs_openssl`."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def issued(authority: Authority) -> Issued:
    """Return a certificate for servers."""
    return authority.issue()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Start servers of this test alone: `live("tests.apps.echo:app", "--threads", "2")`.

    Each is stopped, and its log checked for tracebacks, when the test ends.
    """
    servers: list[LiveServer] = []

    def start(app: str, *args: str, **options: object) -> LiveServer:
        options.setdefault("cwd", os.fspath(tmp_path.parent) if options.pop("elsewhere", False) else None)
        server = LiveServer(app, *args, **options)  # type: ignore[arg-type]
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def public_path() -> Iterator[Path]:
    """Return an empty folder that other users can reach; pytest's own are for this one alone."""
    with tempfile.TemporaryDirectory(prefix="fastwsgi-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Return a closed gate; it is opened when the test ends."""
    gate = Gate(tmp_path)
    yield gate
    gate.open()
