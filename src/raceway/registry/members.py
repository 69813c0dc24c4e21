"""What the registry knows of one listener of this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from raceway.close_codes import NORMAL, OVERLOADED
from raceway.prepared import PreparedMessage
from raceway.registry.policy import Policy


class Closing(NamedTuple):
    """A client message that closes the socket (ASGI WebSocket, "Close")."""

    code: int = NORMAL
    reason: str = ""


TOO_SLOW: Final = Closing(OVERLOADED, "too slow")
"""What a client is told that does not take what is pushed to it."""


Message: TypeAlias = PreparedMessage | bytes | Closing
"""What travels inside a process: a client message, an event as MessagePack, or the order to close."""

Push: TypeAlias = Callable[[PreparedMessage, Policy, object], object]
Deliver: TypeAlias = Callable[[bytes], bool]
Close: TypeAlias = Callable[[Closing], object]
Gap: TypeAlias = Callable[[str], object]


class Member:
    """One listener: a channel name, and the ways in which a message reaches it.

    ``deliver(encoded)`` takes an event and answers whether there was room for it; ``push(message, policy,
    key)`` takes a client message; ``close(closing)`` ends the connection; ``gap(reason)`` says that messages may
    have been missed. None of them may wait.
    """

    __slots__ = ("channel", "close", "deliver", "gap", "groups", "push")

    def __init__(self, channel: str, deliver: Deliver, push: Push, close: Close, gap: Gap | None) -> None:
        self.channel = channel
        self.deliver = deliver
        self.push = push
        self.close = close
        self.gap = gap
        self.groups: set[str] = set()

    def __repr__(self) -> str:
        return f"<Member {self.channel} of {len(self.groups)} groups>"
