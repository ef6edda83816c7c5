"""One server, and all that happens to it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.soak.clients import Client, start
from tests.soak.faults import Faults
from tests.soak.hostile import Hostile
from tests.soak.measuring import Watch

if TYPE_CHECKING:
    import threading

    from tests.soak.server import Soaked

GOOD, HOSTILE, WAITING = 4, 2, 2
"""Clients: good ones, hostile ones, and such as only wait until the server has had enough of them."""

MOST_UPGRADES: Final = 4


class Trial:
    """Who asks, what befalls, who watches; in threads.

    Args:
        server: what is tried.
        seed: of what is drawn.
        seconds: for how long, which decides how often a master is replaced.
        is_steady: leave the processes where they are, so that their memory can be watched for all that time.
        end: of clients.
        end_of_faults: comes before.
    """

    def __init__(
        self,
        server: Soaked,
        seed: str,
        seconds: float,
        *,
        is_steady: bool,
        end: threading.Event,
        end_of_faults: threading.Event,
    ) -> None:
        self.server = server
        self.is_steady = is_steady
        self.clients = [Client(server, f"{seed} good {n}", end) for n in range(GOOD)]
        every = max(60.0, seconds / MOST_UPGRADES)
        self.faults = Faults(
            server, f"{seed} faults", end_of_faults, upgrade_every=every, is_steady=is_steady
        )
        self.watch = Watch(server, end, asks=is_steady)
        hostile = [Hostile(server, f"{seed} hostile {n}", end) for n in range(HOSTILE)]
        hostile += [Hostile(server, f"{seed} waiting {n}", end, waits=True) for n in range(WAITING)]
        self._runs = [client.run for client in self.clients] + [each.run for each in hostile]
        self._runs.append(self.watch.run)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Have it all begin."""
        self._threads = [start(run) for run in (self.faults.run, *self._runs)]

    def join_faults(self) -> None:
        """Wait for the last fault, once their end was told."""
        self._threads[0].join()

    def join(self) -> None:
        """Wait for clients, once their end was told."""
        for thread in self._threads:
            thread.join()
