"""A consumer class as an ASGI application."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from raceway.consumers.handlers import Handlers, handlers_of
from raceway.consumers.runtime import Runtime
from raceway.types import Prepare, Receive, Scope, Send

if TYPE_CHECKING:
    from raceway.consumers.base import Consumer


class ConsumerApplication:
    """Make one instance of ``consumer_class`` for each connection; what ``as_asgi()`` returns."""

    def __init__(self, consumer_class: type[Consumer], initkwargs: dict[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = initkwargs
        self._handlers: Handlers = handlers_of(consumer_class)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.raceway_begin(scope, receive, send)

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepare: Prepare | None = None
    ) -> Coroutine[Any, Any, None]:
        """What ``__call__`` does, without a frame that every message would pass; ``prepare`` runs first."""
        if f"{scope['type']}.disconnect" not in self._handlers.client:
            if scope["type"] == "http":
                return _refuse_http(send)
            raise ValueError(
                f"{self.consumer_class.__qualname__} does not serve {scope['type']!r} connections"
            )
        return Runtime(self._handlers, scope, receive, send).run(self._make, prepare)

    def _make(self) -> Consumer:
        return self.consumer_class(**self.consumer_initkwargs)

    def __repr__(self) -> str:
        return f"<ConsumerApplication of {self.consumer_class.__qualname__}>"


async def _refuse_http(send: Send) -> None:
    """Somebody has opened the address of a WebSocket in a browser (RFC 9110 section 15.5.22)."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send(
        {
            "type": "http.response.body",
            "body": b"A WebSocket is served here: connect with a WebSocket client.\n",
        }
    )
