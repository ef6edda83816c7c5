"""A worker holds after a thousand requests what it held before, without the help of the cycle collector.

The kinds of requests, and how they are made and counted: tests/leaks.py, which also does it for long (`make leaks`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.certificates import OPENSSL
from tests.leaks import AT_ONCE, KINDS, grown, least_descriptors, start
from tests.processes import in_one_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live import LiveServer

WARM = 200
MANY = 500
ROUNDS = 3

pytestmark = [
    pytest.mark.alone,
    pytest.mark.leaks,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveServer, int]]:
    """Return a server, and how many descriptors its worker has when nobody else is there."""
    if request.param == "tls" and not OPENSSL:
        pytest.skip("makes certificates with openssl, which is not installed")
    with start(request.param, tmp_path_factory.mktemp("tls")) as running:
        yield running, least_descriptors(running)


@pytest.mark.parametrize(
    ("server", "kind"), [(kind.server, name) for name, kind in KINDS.items()], indirect=["server"]
)
def test_worker_holds_what_it_held(server: tuple[LiveServer, int], kind: str) -> None:
    running, descriptors = server
    many = int(MANY * KINDS[kind].share)
    warm = max(AT_ONCE, int(WARM * KINDS[kind].share))

    def holds(more: dict[str, int]) -> bool:
        """A leak is at least one for each request, and goes on; less is a cache, or a connection not yet closed."""
        # malloc keeps what connections have held at once.
        return more["objects"] < many // 10 and more["blocks"] < many // 2 and more["resident"] < 1 << 20

    in_one_of(ROUNDS, lambda: grown(running, descriptors, KINDS[kind], many, warm), holds)
