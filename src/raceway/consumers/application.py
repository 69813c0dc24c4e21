"""A consumer class as an ASGI application."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from raceway.consumers.handlers import Handlers, handlers_of
from raceway.consumers.response import answer
from raceway.types import Prepare, RacewayApplication, Receive, Scope, Send

if TYPE_CHECKING:
    from raceway.consumers.base import Consumer


class ConsumerApplication(RacewayApplication):
    """Make one instance of ``consumer_class`` for each connection; what ``as_asgi()`` returns."""

    def __init__(self, consumer_class: type[Consumer], initkwargs: dict[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = initkwargs
        self._handlers: Handlers = handlers_of(consumer_class)  # type: ignore[arg-type]

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Coroutine[Any, Any, None]:
        cls = self.consumer_class
        runtime = cls._runtimes.get(scope["type"], cls._any_runtime)
        if runtime is not None:
            return runtime(self._handlers, scope, receive, send).run(self._make, prepares)
        if scope["type"] == "http":
            return _refuse_http(send)
        if scope["type"] == "websocket":
            return _refuse_websocket(receive, send)
        raise ValueError(f"{cls.__qualname__} does not serve {scope['type']!r} connections")

    def _make(self) -> Consumer:
        return self.consumer_class(**self.consumer_initkwargs)

    def __repr__(self) -> str:
        return f"<ConsumerApplication of {self.consumer_class.__qualname__}>"


def _refuse_http(send: Send) -> Coroutine[Any, Any, None]:
    """Somebody has opened the address of a WebSocket in a browser (RFC 9110 section 15.5.22)."""
    text = "A WebSocket is served here: connect with a WebSocket client."
    return answer(send, 426, text, (b"upgrade", b"websocket"))


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    """Somebody tries a WebSocket where there is none."""
    await receive()
    await send({"type": "websocket.close"})
