"""A configuration with what was opened for it: listening sockets, logs, pidfile, certificates.

At a reload a new generation takes over what has not changed, and opens the rest. Must not know workers, nor
when a generation is needed no more. Invariants: opening is all or nothing, and the generation before is as it
was until the new one takes effect; what two generations share is closed with the last of them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..logs import error_log, log_file
from ..logs.access_log import AccessLog
from ..processes import memory, sockets
from ..processes.identity import Identity
from ..processes.pidfile import Pidfile
from .actions import Policy
from .certificates import CertificateFiles

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Container, Iterable, Sequence

    from _typeshed.wsgi import WSGIApplication

    from ..config.settings import Config
    from ..processes.launch import Launch
    from ..processes.sockets import Listener

__all__ = ["Generation", "close_others"]

BESIDE: Final = ".2"
"""What is appended to the name of the pidfile while the old master lives, as in gunicorn."""


class Generation:
    """A configuration in force, or on its way to that; made by `first` and `next`.

    `identity` is who its workers are. `is_beside` says that an older master has the pidfile's name.
    """

    def __init__(self, cfg: Config, revision: int) -> None:
        self.cfg = cfg
        self.revision = revision
        self.identity = Identity.of(cfg)
        self.listeners: list[Listener] = []
        self.access_log: AccessLog | None = None
        self.certificates = CertificateFiles(cfg)  # as they are before they are loaded
        self.tls: ssl.SSLContext | None = None
        self.pidfile: Pidfile | None = None
        self.is_beside = False

    @classmethod
    def first(cls, cfg: Config, launch: Launch) -> Generation:
        """Open all that `cfg` needs, as far as it did not come along at the start of this process.

        Raises:
            ConfigError: something cannot be had; nothing stays open then.
        """
        made = cls(cfg, 0)
        made.is_beside = launch.predecessor != 0
        with ExitStack() as opened:
            made._open_files((), opened)
            made.listeners = launch.listen(
                cfg.bind, backlog=cfg.backlog, umask=cfg.umask, reuse_port=cfg.reuse_port
            )
            opened.pop_all()
        made._give_files()
        return made

    @classmethod
    def next(cls, cfg: Config, revision: int, others: Sequence[Generation]) -> Generation:
        """Open what `cfg` needs and none of the generations that are open has.

        Raises:
            ConfigError: something cannot be had; nothing more is open then.
        """
        made = cls(cfg, revision)
        made.is_beside = any(other.is_beside for other in others)
        with ExitStack() as opened:
            made._open_files(others, opened)
            made.listeners = sockets.listen_all(
                cfg.bind,
                backlog=cfg.backlog,
                umask=cfg.umask,
                reuse_port=cfg.reuse_port,
                kept=dict.fromkeys(listener for other in others for listener in other.listeners),
                # It must not hold up the master; and there is no server before this one to wait for.
                patience=0.0,
            )
            opened.pop_all()
        return made

    def _open_files(self, others: Sequence[Generation], opened: ExitStack) -> None:
        cfg = self.cfg
        if cfg.max_worker_memory and not memory.IS_KNOWN:
            raise cfg.mistake("max_worker_memory", "only Linux tells the memory of a process; remove it")
        self.tls = _make_tls(cfg)
        for other in others:
            if other.cfg.pidfile == cfg.pidfile:
                self.pidfile = other.pidfile
            if _access_log_of(other.cfg) == _access_log_of(cfg):
                self.access_log = other.access_log
        if cfg.pidfile and self.pidfile is None:
            self.pidfile = Pidfile(cfg.pidfile + BESIDE if self.is_beside else cfg.pidfile)
            opened.callback(self.pidfile.remove)
        if cfg.accesslog is not None and self.access_log is None:
            try:
                self.access_log = AccessLog.open(cfg.accesslog, cfg.access_log_format)
            except OSError as exc:
                raise log_file.mistake(cfg, "accesslog", exc) from None
            opened.callback(self.access_log.close)

    def take_effect(self, instead_of: Generation) -> logging.Logger:
        """Have the process log and listen as the configuration says; return the error log.

        Raises:
            ConfigError: the error log cannot be opened.
        """
        log = error_log.setup(self.cfg)
        if self.access_log is not None:
            self.access_log.reopen()
        if _listening_of(self.cfg) != _listening_of(instead_of.cfg):
            for listener in self.listeners:
                listener.adjust(**_listening_of(self.cfg))
        self._give_files()
        return log

    def _give_files(self) -> None:
        """Give the logs, which workers open anew, and the files of sockets to the user that workers are."""
        for path in (self.cfg.errorlog, self.cfg.accesslog):
            if path is not None and path != "-":
                self.identity.own(path)
        for listener in self.listeners:
            if listener.made is not None:
                self.identity.own_socket(listener.made)

    def policy(self, slots: int) -> Policy:
        """Return what the configuration says to the machine; `slots` is the most workers there may be."""
        cfg = self.cfg
        return Policy(
            workers=cfg.workers,
            timeout=cfg.timeout,
            graceful_timeout=cfg.graceful_timeout,
            boot_timeout=cfg.boot_timeout,
            abort_grace=cfg.abort_grace,
            drain_delay=cfg.drain_delay,
            max_memory=cfg.max_worker_memory,
            max_lifetime=cfg.max_worker_lifetime,
            max_lifetime_jitter=cfg.max_worker_lifetime_jitter,
            awaits_mending=cfg.reload,
            slots=slots,
            revision=self.revision,
        )

    def announce(self, log: logging.Logger, before: Generation | None = None) -> None:
        """Log where clients find the server, as far as that is new."""
        for listener in self.listeners:
            url = self.url(listener)
            if before is None or listener not in before.listeners or before.url(listener) != url:
                log.info("Listening at: %s (%d)", url, os.getpid())
        pidfile = self.pidfile
        if pidfile is not None and pidfile.notice and (before is None or pidfile is not before.pidfile):
            log.warning("%s", pidfile.notice)

    def url(self, listener: Listener) -> str:
        """Return where clients find a listener, for the log."""
        return listener.url if self.tls is None else listener.tls_url

    @property
    def application(self) -> WSGIApplication | str:
        """The application, or its name.

        Raises:
            ConfigError: none is named.
        """
        if self.cfg.wsgi_app is None:
            raise ConfigError("no application is named; set wsgi_app")
        return self.cfg.wsgi_app

    def take_over(self) -> str:
        """Take note that the other master has ended: its names are ours; return what is in the way, or ""."""
        self.is_beside = False
        for listener in self.listeners:
            listener.is_shared = False
        try:
            if self.pidfile is not None and self.cfg.pidfile:
                self.pidfile.rename(self.cfg.pidfile)
        except ConfigError as exc:
            return str(exc)
        return ""

    def reopen_logs(self) -> None:
        """Open the log files anew, after someone moved them away."""
        error_log.reopen()
        if self.access_log is not None:
            self.access_log.reopen()
        self._give_files()

    def close_sockets(self, kept: Iterable[Generation] = ()) -> list[Listener]:
        """Stop listening, but for what the generations in `kept` need; return what was closed."""
        needed = {listener for generation in kept for listener in generation.listeners}
        closed = [listener for listener in self.listeners if listener not in needed]
        for listener in closed:
            listener.close()
        return closed

    def close(self, kept: Iterable[Generation] = ()) -> list[Listener]:
        """Close everything, but for what the generations in `kept` need; return the sockets among it."""
        kept = list(kept)
        if self.access_log is not None and all(other.access_log is not self.access_log for other in kept):
            self.access_log.close()
        if self.pidfile is not None and all(other.pidfile is not self.pidfile for other in kept):
            self.pidfile.remove()
        return self.close_sockets(kept)


def close_others(generations: dict[int, Generation], needed: Container[int]) -> list[Listener]:
    """Close those of other revisions than `needed`, and take them out; return the sockets among it."""
    closed: list[Listener] = []
    kept = [generation for revision, generation in generations.items() if revision in needed]
    for revision in [revision for revision in generations if revision not in needed]:
        closed += generations.pop(revision).close(kept)
    return closed


def _make_tls(cfg: Config) -> ssl.SSLContext | None:
    if not cfg.is_ssl:
        return None
    from ..tls import make_context  # noqa: PLC0415 - OpenSSL is loaded only where it is needed

    return make_context(cfg)


def _listening_of(cfg: Config) -> dict[str, Any]:
    return {"backlog": cfg.backlog, "umask": cfg.umask, "reuse_port": cfg.reuse_port}


def _access_log_of(cfg: Config) -> tuple[str | None, str]:
    return cfg.accesslog, cfg.access_log_format
