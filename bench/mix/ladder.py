"""How many users come next, where the peak is, and who keeps what it promises: decisions from figures alone.

Users double from stage to stage until twice the users of the peak have been there, so that every server is
seen at its peak and at twice that. All start at the same number, so that stages of equal load compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Stage = Mapping[str, Any]

__all__ = ["CLIENT_BUSY", "equal_load", "next_users", "overload_targets", "peak"]

CLIENT_BUSY = 0.9  # of its CPU; above it, the client is the limit
_GAIN = 1.05  # more requests per second that make more users worth their latency
_FEW_FAILURES = 0.01


def peak(stages: Sequence[Stage]) -> Stage | None:
    """Return the stage of fewest users that has nearly the most answers per second; None if all fail."""
    good = [stage for stage in stages if stage["failures"] <= _FEW_FAILURES * stage["requests"]]
    good = [stage for stage in good if stage["requests"]]
    most = max((stage["requests_per_second"] for stage in good), default=0.0)
    return next((stage for stage in good if stage["requests_per_second"] * _GAIN >= most), None)


def next_users(stages: Sequence[Stage], first: int, most: int) -> int:
    """Return how many users come next; 0 if enough has been seen."""
    if not stages:
        return first
    highest = peak(stages)
    users: int = stages[-1]["users"] * 2
    if highest is None or stages[-1]["users"] >= 2 * highest["users"] or users > most:
        return 0
    return users


def equal_load(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return the most users that every valid row has had; 0 if there are none."""
    had = [{stage["users"] for stage in row["stages"]} for row in rows if row["valid"]]
    return max(set.intersection(*had), default=0) if had else 0


def overload_targets(rows: Sequence[Mapping[str, Any]], ours: str, users: int) -> list[dict[str, Any]]:
    """Return whether no p99 is better than ours with that many users; "reached" is None if not measured.

    Who loses answers is no example: what it has not served has no latency.
    """
    measured = {
        row["server"]: stage
        for row in rows
        for stage in row["stages"]
        if row["valid"] and stage["users"] == users and stage["p99_ms"] is not None
    }
    text = f"p99 with {users} users, twice those of the peak: at most that of "
    target = {"text": f"{text}the best peer", "value": None, "limit": 1.0, "reached": None}
    own = measured.pop(ours, None)
    peers = {name: stage["p99_ms"] for name, stage in measured.items() if not stage["failures"]}
    if own is None or not peers:
        return [target]
    best = min(peers, key=lambda name: peers[name])
    target["text"] = f"{text}{best}, the best peer"
    if own["failures"]:
        return [target | {"reached": False}]
    ratio = own["p99_ms"] / peers[best]
    return [target | {"value": ratio, "reached": ratio <= 1.0}]
