"""A client message that is encoded once and pushed to many sockets."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

Form: TypeAlias = int
"""Which bytes a socket wants: ``PLAIN``, ``SSE``, or a deflate window of 9 to 15 bits."""

PLAIN: Form = 0
SSE: Form = 1


class Pushed(Enum):
    """What became of one push to one socket."""

    ACCEPTED = "accepted"
    DROPPED = "dropped"
    CLOSED = "closed"


class PreparedMessage:
    """Hold one text or binary message and each wire form of it, each made at most once per process.

    ``payload`` is the final text as UTF-8, or the final bytes; ``is_text`` says which. ``form(kind, encode)``
    returns the bytes for a socket: it calls ``encode(message, kind)`` the first time a kind is asked for.
    Not thread-safe: used in the event loop's thread only.
    """

    __slots__ = ("forms", "is_text", "payload")

    def __init__(self, data: str | bytes) -> None:
        self.is_text = isinstance(data, str)
        self.payload: bytes = data.encode() if isinstance(data, str) else bytes(data)
        self.forms: dict[Form, bytes] = {}

    @classmethod
    def from_utf8(cls, payload: bytes) -> PreparedMessage:
        """A text message whose UTF-8 is there already."""
        message = cls(payload)
        message.is_text = True
        return message

    def form(self, kind: Form, encode: Callable[[PreparedMessage, Form], bytes]) -> bytes:
        made = self.forms.get(kind)
        if made is None:
            made = self.forms[kind] = encode(self, kind)
        return made

    def __repr__(self) -> str:
        kind = "text" if self.is_text else "binary"
        return f"<PreparedMessage {kind}, {len(self.payload)} bytes>"
