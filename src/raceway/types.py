"""The shapes that cross Raceway's two ASGI edges (ASGI 3.0, https://asgi.readthedocs.io)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
"""What is known of a connection before its first event (ASGI core, "Connection Scope")."""

Event: TypeAlias = MutableMapping[str, Any]
"""One event or message: a dictionary with a ``type`` (ASGI core, "Events")."""

Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields in wire order, names in lower case, duplicates kept."""

Prepare: TypeAlias = Callable[[Scope], Awaitable[object]]
"""Connect-time work: adds to the scope, which is the connection's own copy, or raises ``DenyConnection``."""


class RacewayApplication(ABC):
    """An ASGI application that hands a connection on instead of awaiting it; see ``raceway.routing.begin``."""

    raceway_hands_on: ClassVar[bool] = True
    """Whether ``raceway_begin`` may be called in place of ``__call__``: not if a subclass has written its own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.raceway_hands_on = "raceway_begin" in vars(cls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.raceway_begin(scope, receive, send)

    @abstractmethod
    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        """What ``__call__`` does, without a frame that every message would pass; ``prepares`` run first."""
