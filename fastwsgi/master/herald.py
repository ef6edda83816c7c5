"""What a master tells the world of itself: systemd, and the other master while there are two.

Owns which of two masters speaks for the service, and the words for people. Must not know how the master comes
to its state: it looks at the machine after actions were carried out. Invariant: a service is never without a
main process that lives, as far as one of its masters could still say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import EXIT_OK
from ..processes.systemd import Notifier
from .phases import MasterState

if TYPE_CHECKING:
    from ..config.settings import Config
    from ..processes.launch import Launch
    from ..processes.report import Report
    from .supervision import Supervisor
    from .upgrade import Upgrade

__all__ = ["Herald"]

STEP: Final = 60.0
"""Seconds granted to one step of a reload: one worker loads the app, and another one stops."""

_OVER: Final = (MasterState.STOPPING, MasterState.STOPPED)


class Herald:
    """Tells what has become of a master.

    Args:
        launch: how this process was started.
        upgrade: what is known of the other master.
    """

    def __init__(self, launch: Launch, upgrade: Upgrade) -> None:
        self._upgrade = upgrade
        self._notifier = Notifier(launch.environ, main=upgrade.predecessor)

    def tell(self, machine: Supervisor, cfg: Config, now: float) -> None:
        """Tell what has changed; to be called when actions were carried out, and when `next_tick` says so."""
        state, other = machine.state, self._upgrade.other
        if state is MasterState.RUNNING:
            self._upgrade.tell_ready()
        if other and state in _OVER:
            # To systemd it would be the end of the service.
            self._notifier.hand_over(other, f"Master {other} serves")
        is_upgrade = self._upgrade.is_starting and state is MasterState.RUNNING
        phase = MasterState.RELOADING if is_upgrade else state
        self._notifier.show(phase.value, self._status(machine), now, extend=_patience(phase, cfg))

    def tell_of_reload(self, now: float) -> None:
        """Tell that the configuration is about to be read."""
        self._notifier.show(MasterState.RELOADING.value, "Reads its configuration", now, extend=STEP)

    def next_tick(self, now: float) -> float | None:
        """Return in how many seconds `tell` is due, even if nothing changes; None: not at all."""
        return self._notifier.next_tick(now)

    # --- two masters ---------------------------------------------------------------------------------------

    def on_report(self, report: Report) -> str:
        """Act on what the other master says; return a line for the log, or ""."""
        if report.code != EXIT_OK:
            return ""  # it will end, and be heard of then
        if self._upgrade.predecessor:
            # It has told systemd of us, so that we are believed.
            self._notifier.take_over()
            return ""
        pid = self._upgrade.successor
        self._notifier.hand_over(pid, f"New master {pid} serves, beside the old one")
        self._upgrade.answer()
        return (
            f"The new master (pid:{pid}) serves; end this one to complete the upgrade, or that one to go back"
        )

    def on_other_gone(self) -> None:
        """Take note that this master is the only one now."""
        self._notifier.take_over()

    def _status(self, machine: Supervisor) -> str:
        state, ready = machine.state, machine.ready
        workers = f"{ready} of {machine.wanted}" if ready < machine.wanted else str(ready)
        workers += " workers serve" if workers != "1" else " worker serves"
        if state is MasterState.STARTING:
            return "Starting: no worker serves yet"
        if state in _OVER:
            left = len(machine.pids)
            return f"Stopping: {left} worker{'s' if left != 1 else ''} left"
        if self._upgrade.is_starting:
            return f"Upgrading: {workers}, new master {self._upgrade.successor} is starting"
        title = {MasterState.RELOADING: "Reloading: ", MasterState.DRAINING: "About to stop: "}.get(state, "")
        return title + workers


def _patience(phase: MasterState, cfg: Config) -> float:
    """Return the seconds that may pass until there is more to tell."""
    if phase is MasterState.STARTING:
        return cfg.boot_timeout
    if phase is MasterState.RELOADING:
        return max(cfg.boot_timeout, STEP) + cfg.graceful_timeout
    return cfg.drain_delay + cfg.graceful_timeout + STEP
