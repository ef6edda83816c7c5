"""Kinds of values that settings have: how each is read, shown and described.

Must not know: which settings there are (settings.py), nor where a value came from: the caller does, and puts
that into the message, with what `Kind.allowed` or `RefusedError` says.
"""

from __future__ import annotations

import inspect
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..errors import ConfigError
from . import addresses

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["Kind", "RefusedError"]

T = TypeVar("T")

AUTO = 0  # `workers` while the number of usable CPUs has not been asked for; sources.py replaces it


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A type of value: its name in `--help`, what is allowed, how to read it and how to show it.

    `parse` takes a word of the command line or an object of a configuration file, and raises ValueError or
    TypeError for what it does not take. A kind without a metavar is a switch: its flag takes no argument. One
    with `bare` may go without, and means that word then.
    """

    metavar: str
    allowed: str
    parse: Callable[[Any], T]
    show: Callable[[Any], str] = str
    repeats: bool = False
    bare: str | None = None


class RefusedError(ValueError):
    """A value that could be read, and is refused: its text is the reason, and the remedy."""


def _parse_int(value: object, base: int = 10) -> int:
    if isinstance(value, str):
        return int(value, base)
    # A configuration file may compute `workers` as a fraction (1.5 per CPU); gunicorn rounds it down.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value)
    raise TypeError


def _whole(minimum: int, allowed: str) -> Kind[int]:
    def parse(value: object) -> int:
        number = _parse_int(value)
        if number < minimum:
            raise ValueError
        return number

    return Kind("INT", allowed, parse)


def _parse_workers(value: object) -> int:
    if value == "auto":
        return AUTO
    number = _parse_int(value)
    if number < 1:
        raise ValueError
    return number


def _parse_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    seconds = float(value)
    if not 0 <= seconds < float("inf"):  # refuses "nan" too
        raise ValueError
    return seconds


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _parse_size(value: object) -> int:
    if not isinstance(value, str):
        value = str(_parse_int(value))
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:I?B)?", value.strip().upper(), re.ASCII)
    if match is None:
        raise ValueError
    return int(match[1]) * _UNITS[match[2]]


def _show_size(value: int) -> str:
    for unit in "GMK":
        if value and value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]}{unit}"
    return str(value)


# Threads and inline are one engine here: how many threads there are decides.
_WORKER_CLASSES = ("sync", "gthread", "gevent")
_GUNICORN_CLASSES = {
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gunicorn.workers.gthread.ThreadWorker": "gthread",
    "gunicorn.workers.ggevent.GeventWorker": "gevent",
}
_OTHER_CLASSES = {
    "eventlet": "eventlet is no longer maintained; use gevent, or gthread with --threads",
    "gevent_pywsgi": "it is another server's; use gevent",
    "gevent_wsgi": "it is another server's; use gevent",
    "tornado": "it runs Tornado's own loop; use gthread with --threads, or serve Tornado apps by Tornado",
    "asgi": "fastwsgi serves WSGI applications; an ASGI application needs an ASGI server",
    "uvicorn": "fastwsgi serves WSGI applications; an ASGI application needs an ASGI server",
}

_ALL_PERMISSIONS = 0o777


def _parse_mask(value: object) -> int:
    if isinstance(value, str):
        # "022" is octal to everyone who writes a umask; Python wants it spelled 0o22.
        value = value.strip()
        mask = int(value, 8) if re.fullmatch(r"0[0-7]+", value) else int(value, 0)
    else:
        mask = _parse_int(value)
    if not 0 <= mask <= _ALL_PERMISSIONS:
        raise ValueError
    return mask


_WORDS = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}


def _parse_switch(value: object) -> bool:
    if isinstance(value, str):
        if value.strip().lower() not in _WORDS:
            raise ValueError
        return _WORDS[value.strip().lower()]
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise TypeError


def _parse_text(value: object) -> str:
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, str):
        raise TypeError
    # A line break or a NUL in a path, an address or a title is a mistake, and would forge lines in the log.
    text = value.strip()
    if "\0" in text or "\n" in text:
        raise ValueError
    return text


def _parse_list(value: object) -> tuple[str, ...]:
    """Read words separated by commas, or a list of them."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable):
        raise TypeError
    return tuple(word for word in map(_parse_text, value) if word)


def _parse_addresses(value: object) -> tuple[str, ...]:
    texts = _parse_list(value)
    if not texts:
        raise ValueError
    try:
        for text in texts:
            addresses.parse(text)
    except ConfigError as exc:
        raise RefusedError(str(exc)) from None
    return texts


def _parse_app(value: object) -> str | WSGIApplication:
    return cast("WSGIApplication", value) if callable(value) else _parse_text(value)


def _parse_worker_class(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    word = value.strip()
    word = _GUNICORN_CLASSES.get(word, word)
    if word not in _WORKER_CLASSES:
        for other, why in _OTHER_CLASSES.items():
            if other in word.lower():
                raise RefusedError(why)
        raise ValueError
    return word


def _parse_networks(value: object) -> tuple[str, ...]:
    networks = _parse_list(value)
    for network in networks:
        if network != "*":
            ipaddress.ip_network(network, strict=False)
    return networks


def _parse_header_names(value: object) -> tuple[str, ...]:
    return tuple(name.upper().replace("-", "_") for name in _parse_list(value))


def _parse_variables(value: object) -> tuple[str, ...]:
    variables = _parse_list(value)
    if not all(variable.partition("=")[0] and "=" in variable for variable in variables):
        raise ValueError
    return variables


def _parse_table(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError
    return dict(value)


def _parse_scheme_headers(value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        value = [item.split(":", 1) for item in value.split(",")]
    table = _parse_table(value if isinstance(value, Mapping) else dict(value))  # type: ignore[call-overload]
    return tuple((name.strip().upper().replace("_", "-"), _parse_text(word)) for name, word in table.items())


def _show_scheme_headers(value: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {word}" for name, word in value)


def _parse_owner(value: object) -> str | int:
    """Read a user or a group: a name, or a number."""
    if isinstance(value, bool):
        raise TypeError
    text = str(value) if isinstance(value, int) else _parse_text(value)
    if text.isdecimal():
        return int(text)
    if not text or text.startswith("-"):
        raise ValueError
    return text


def _parse_class(value: object) -> str | type:
    if isinstance(value, type):
        return value
    text = _parse_text(value)
    if not re.fullmatch(r"\w+(\.\w+)*[.:]\w+", text):
        raise ValueError
    return text


_CERT_REQS = {"CERT_NONE": 0, "CERT_OPTIONAL": 1, "CERT_REQUIRED": 2}


def _parse_cert_reqs(value: object) -> int:
    # ssl.VerifyMode of a configuration file is an int.
    word = (
        value.strip().upper().removeprefix("SSL.").removeprefix("VERIFYMODE.")
        if isinstance(value, str)
        else ""
    )
    number = _CERT_REQS[word] if word in _CERT_REQS else _parse_int(value)
    if number not in _CERT_REQS.values():
        raise ValueError
    return number


_PROXY_HEADERS = ("forwarded", *(f"x-forwarded-{what}" for what in ("for", "host", "proto", "prefix")))


def _parse_proxy_headers(value: object) -> tuple[str, ...]:
    # waitress, which has the setting too, has spaces between them.
    names = tuple(name for text in _parse_list(value) for name in text.lower().split())
    if not set(names) <= set(_PROXY_HEADERS):
        raise ValueError
    if "forwarded" in names and not {"x-forwarded-for", "x-forwarded-host"}.isdisjoint(names):
        raise RefusedError(
            "Forwarded says what X-Forwarded-For and X-Forwarded-Host say; name those that your proxy writes"
        )
    return names


_PROXY_PROTOCOLS = ("off", "v1", "v2", "auto")


def _parse_proxy_protocol(value: object) -> str:
    if isinstance(value, bool):  # of a time when there was one version
        return "auto" if value else "off"
    word = _parse_text(value).lower()
    word = {"true": "auto", "false": "off"}.get(word, word)
    if word not in _PROXY_PROTOCOLS:
        raise ValueError
    return word


def hook(*arities: int) -> Kind[Callable[..., Any]]:
    """Make the kind of a hook that is called with so many arguments, the most first."""
    some = " or ".join(map(str, arities))

    def parse(value: object) -> Callable[..., Any]:
        if not callable(value):
            raise TypeError
        try:
            signature = inspect.signature(value)
        except (ValueError, TypeError):  # of a builtin, which does not tell
            return cast("Callable[..., Any]", value)
        if not any(_takes(signature, count) for count in arities):
            raise ValueError
        return cast("Callable[..., Any]", value)

    return Kind("FUNCTION", f"a function of {some} argument{'s' if arities != (1,) else ''}", parse)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def choice(*words: str) -> Kind[str]:
    """Make the kind of a word that is one of these, in any case."""

    def parse(value: object) -> str:
        word = _parse_text(value).lower()
        if word not in words:
            raise ValueError
        return word

    return Kind("WORD", "one of " + ", ".join(words), parse)


def _show_switch(value: object) -> str:
    return "on" if value else "off"


ADDRESSES = Kind(
    "ADDRESS",
    "HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N, one or a list of them",
    _parse_addresses,
    ", ".join,
    repeats=True,
)
APP = Kind("APP", "module:name, or a callable", _parse_app)
COUNT = _whole(1, "a whole number, 1 or more")
CERT_REQS = Kind(
    "WORD",
    "CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED, or 0, 1 or 2",
    _parse_cert_reqs,
    lambda value: next(word for word, number in _CERT_REQS.items() if number == value),
)
CLASS = Kind("CLASS", "a class, or its name as module.Class", _parse_class)
FILES = Kind("PATH", "a path or a glob, or a list of them", _parse_list, ", ".join, repeats=True)
HEADER_NAMES = Kind("NAMES", "names of header fields, separated by commas", _parse_header_names, ",".join)
LIMIT = _whole(0, "a whole number; 0 means no limit")
LIST = Kind("WORDS", "words separated by commas, or a list of them", _parse_list, ",".join)
MASK = Kind("MASK", "an octal number from 0 to 0777", _parse_mask, "{:04o}".format)
NETWORKS = Kind(
    "ADDRESSES",
    "addresses and networks (10.0.0.0/8) separated by commas, or * for all",
    _parse_networks,
    ",".join,
)
OWNER = Kind("NAME", "a name or a number", _parse_owner)
PATH = Kind("PATH", "a path", _parse_text)
PROXY_HEADERS = Kind(
    "NAMES",
    "names separated by commas, of " + ", ".join(_PROXY_HEADERS),
    _parse_proxy_headers,
    ",".join,
)
PROXY_PROTOCOL = Kind("WORD", "off, v1, v2 or auto", _parse_proxy_protocol, bare="auto")
SCHEME_HEADERS = Kind(
    "TABLE",
    'a dict of header names and values, as {"X-FORWARDED-PROTO": "https"}',
    _parse_scheme_headers,
    _show_scheme_headers,
)
SECONDS = Kind("SECONDS", "a number of seconds, 0 or more", _parse_seconds, "{:g}".format)
SIZE = Kind("SIZE", "a number of bytes, K, M or G may follow it; 0 means no limit", _parse_size, _show_size)
SWITCH = Kind("", "True or False", _parse_switch, _show_switch)
TABLE = Kind("TABLE", "a dict", _parse_table)
TEXT = Kind("TEXT", "one line of text", _parse_text)
VARIABLES = Kind("NAME=VALUE", "NAME=VALUE, one or a list of them", _parse_variables, ", ".join, repeats=True)
WORKER_CLASS = Kind(
    "WORD",
    "sync, gthread or gevent; other classes of gunicorn run another protocol or another loop",
    _parse_worker_class,
)
WORKERS = Kind("N", 'a whole number, 1 or more, or "auto"', _parse_workers)
