"""What `ps` shows of a process."""

from __future__ import annotations

__all__ = ["set_title"]


def set_title(title: str) -> str:
    """Set what `ps` shows of this process, if setproctitle is installed; return what it showed before."""
    try:
        import setproctitle  # noqa: PLC0415 - the pure installation may be without it
    except ModuleNotFoundError:
        return ""
    before = setproctitle.getproctitle()
    setproctitle.setproctitle(title)
    return before
