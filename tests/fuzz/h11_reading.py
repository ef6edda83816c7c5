"""How h11 reads what we take for requests: another reader, by other hands, that must see the same.

We refuse more than it does, on purpose (both lengths, obs-fold, lists of lengths, spaces behind chunk sizes). What we
take it must take too, but for what `KNOWN` names.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import h11

__all__ = ["KNOWN", "IncompleteError", "Message", "RefusedError", "fields_of", "read_request"]

KNOWN: Final = {
    "bad Content-Length": "RFC 9110 §8.6: 1*DIGIT; h11 takes 20 at most, of which the first may all be zeros",
    "illegal chunk header": "RFC 9112 §7.1: 1*HEXDIG; again h11 takes 20, we take 64 if their value fits",
}
"""Refusals of h11 that we do not follow, and the rule by which we are right."""

IN_TRAILERS: Final = ("Only Transfer-Encoding", "multiple Transfer-Encoding", "conflicting Content-Length")
"""RFC 9110 §6.5.1: what frames a message has no meaning in its trailers, which we drop. h11 reads them as a head's."""


class Message(NamedTuple):
    """One request."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    is_last: bool
    expects_continue: bool
    rest: bytes
    """What has come behind it."""


class RefusedError(Exception):
    """h11 takes it for no request; `has_head` tells whether it has taken the head."""

    def __init__(self, words: str, has_head: bool) -> None:
        super().__init__(words)
        self.words = words
        self.has_head = has_head

    def is_known(self) -> bool:
        """Return whether we have a reason to take it all the same."""
        return self.words.startswith((*KNOWN, *(IN_TRAILERS if self.has_head else ())))


class IncompleteError(Exception):
    """h11 waits for more; `has_head` tells for what."""

    def __init__(self, has_head: bool) -> None:
        super().__init__(has_head)
        self.has_head = has_head


def read_request(data: bytes, *, head_only: bool = False) -> Message:
    """Read the request that `data` begins with. Raises RefusedError or IncompleteError.

    RFC 9112 §2.2: one empty line in front of it is skipped, which h11 does not do.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 24)
    request: Any = None
    body: list[bytes] = []
    try:
        connection.receive_data(data.removeprefix(b"\r\n"))
        while True:
            event: Any = connection.next_event()
            if type(event) is h11.Request:
                request = event
                expects = connection.they_are_waiting_for_100_continue
                if head_only:
                    break
            elif type(event) is h11.Data:
                body.append(bytes(event.data))
            elif type(event) is h11.EndOfMessage:
                # Behind an Upgrade, h11 says only then what becomes of the connection: nobody takes it over.
                connection.send(h11.Response(status_code=400, headers=[(b"Content-Length", b"0")]))
                break
            else:
                raise IncompleteError(request is not None)
    except h11.RemoteProtocolError as error:
        raise RefusedError(str(error), request is not None) from None
    return Message(
        bytes(request.method),
        bytes(request.target),
        bytes(request.http_version),
        [(bytes(name), bytes(value)) for name, value in request.headers],
        b"".join(body),
        connection.their_state is h11.MUST_CLOSE,
        expects,
        connection.trailing_data[0],
    )


def fields_of(message: Message, *, keeps: Any) -> dict[str, str]:
    """Return what environ should say of the fields; `keeps` tells which names with an underscore stay."""
    found: dict[str, str] = {}
    for name, value in message.fields:
        if b"_" in name:
            if not keeps(name):
                continue
        elif name == b"proxy":
            continue  # CVE-2016-5385
        key = name.decode("ascii").upper().replace("-", "_")
        if name not in (b"content-type", b"content-length"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in found:
            text = found[key] + ("; " if name == b"cookie" else ", ") + text
        found[key] = text
    return found
