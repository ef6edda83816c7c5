"""Runs the users of bench/locustfile.py by stages: `python -m bench.mix.users URL`, in locust's environment.

Each line of standard input asks for a stage: {"users", "settle", "seconds"}. Those of the stage before stay.
When they are all there and have settled, {} is printed; after the seconds, what they have seen in that time.
The end of the input ends them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import gevent
from locust.env import Environment

from bench import locustfile

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

# Locust warns above that.
_USERS_PER_SECOND = 100
# The application sleeps in these, so that they say nothing about how quick the server is.
_SLOW = {"report", "stream"}


class Tally:
    """What the users have seen since the last start()."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Forget what was before."""
        self._times: dict[str, list[float]] = defaultdict(list)
        self._failures: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._began = time.perf_counter()
        self._cpu = time.process_time()

    def on_request(self, name: str, response_time: float, exception: Exception | None, **_more: Any) -> None:
        """Note an answer, or that there was none; locust calls it."""
        if exception is None:
            self._times[name].append(response_time)
        else:
            self._failures[name] += 1
            self._faults[f"{name}: {str(exception) or repr(exception)}"[:200]] += 1

    def on_user_error(self, exception: Exception, **_more: Any) -> None:
        """Note that a user could not go on: the fault of this program, or of an answer beyond belief."""
        self._failures["user"] += 1
        self._faults[f"user: {exception!r}"[:200]] += 1

    def figures(self) -> dict[str, Any]:
        """Return rates, failures and percentiles, of all and of each kind."""
        seconds = time.perf_counter() - self._began
        kinds = {
            kind: _figures(self._times[kind], self._failures[kind], seconds)
            for kind in sorted({*self._times, *self._failures})
        }
        answered = sum(len(times) for times in self._times.values())
        prompt = [one for kind, times in self._times.items() if kind not in _SLOW for one in times]
        return {
            **_figures(prompt, sum(self._failures.values()), seconds),
            "requests": answered,
            "requests_per_second": answered / seconds,
            "client_busy": (time.process_time() - self._cpu) / seconds,
            "faults": dict(self._faults.most_common(5)),
            "kinds": kinds,
        }


def main(argv: Sequence[str] | None = None) -> int:
    (url,) = sys.argv[1:] if argv is None else argv
    classes = [getattr(locustfile, name) for name in locustfile.__all__]
    environment = Environment(user_classes=classes, host=url)
    tally = Tally()
    environment.events.request.add_listener(tally.on_request)
    environment.events.user_error.add_listener(tally.on_user_error)
    runner = environment.create_local_runner()
    # In a thread: the users go on meanwhile.
    read = gevent.get_hub().threadpool.spawn
    while line := read(sys.stdin.readline).get():
        wanted = json.loads(line)
        runner.start(wanted["users"], spawn_rate=_USERS_PER_SECOND)
        while runner.user_count != wanted["users"]:
            gevent.sleep(0.05)
        gevent.sleep(wanted["settle"])
        tally.start()
        print("{}", flush=True)
        gevent.sleep(wanted["seconds"])
        print(json.dumps(tally.figures()), flush=True)
    runner.quit()
    return 0


def _figures(times: list[float], failures: int, seconds: float) -> dict[str, Any]:
    # quantiles() takes two values at least.
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return {
        "requests_per_second": len(times) / seconds,
        "failures": failures,
        **{f"p{rank}_ms": cuts[rank - 1] if cuts else None for rank in (50, 95, 99)},
    }


if __name__ == "__main__":
    sys.exit(main())
