"""Consumers of named channels, and of any protocol that is not WebSocket or HTTP as the other classes have it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, ClassVar

from raceway.consumers.base import Consumer
from raceway.consumers.handlers import ByType, Handlers, drop_unknown
from raceway.consumers.response import ResponseRuntime
from raceway.consumers.runtime import Runtime
from raceway.consumers.websocket_runtime import WebsocketRuntime
from raceway.done import DONE
from raceway.registry import Closing
from raceway.threads import in_test
from raceway.types import Event, Receive, Scope, Send

logger = logging.getLogger("raceway.consumers")


class ChannelRuntime(Runtime):
    """The runtime of a named channel: it takes one message at a time, and there is no client."""

    pumped_events: ClassVar = 1  # what has been received and not been handled would be lost with the process

    __slots__ = ()

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(handlers._replace(client=ByType({}, handlers.events)), scope, receive, send)

    def put(self, event: Event) -> None:
        if not isinstance(event.get("type"), str):
            drop_unknown(self.consumer, event)
            return
        self._client_waiting += 1
        self._mailbox.append(event)
        self._wake()

    def send(self, event: Event) -> Awaitable[None]:
        raise RuntimeError(
            f"The channel {self.scope.get('channel')!r} has no client to send to; "
            "use Channel(name).send() or Group(name).send()."
        )

    def close(self, closing: Closing) -> None:
        """Nothing: there is no client."""

    async def _receive_first(self) -> Event | None:
        return None


class SyncConsumer(Consumer):
    """The code for a named channel, or for a connection of any protocol: a method for each type of event.

    ``{"type": "thumbnail.make", ...}`` calls ``thumbnail_make(event)``. One instance serves a named channel; what a
    handler raises there is logged, and the next message is handled. A connection's own events call methods in the
    same way, ``websocket_connect(event)`` and so on, and ``send`` takes events as ASGI has them. Raise
    ``StopConsumer`` to end.
    """

    _runtimes = {
        "channel": ChannelRuntime,
        "http": ResponseRuntime,
        "websocket": WebsocketRuntime,
    }
    _any_runtime = Runtime

    def send(self, message: Event) -> Awaitable[None]:
        """Send an event to the client."""
        return self._runtime.send(message)

    def on_error(self, error: Exception, event: Any) -> Any:
        """Decide what an exception does: raise to end the connection, return to go on.

        The default raises ``error``, but for a named channel: there it is logged, unless a test is to see it.
        """
        if self.scope["type"] != "channel" or in_test.get():
            raise error
        kind = event.get("type") if isinstance(event, dict) else None
        logger.error(
            "%s failed at a message of type %r in the channel %r.",
            type(self).__qualname__,
            kind,
            self.scope.get("channel"),
            exc_info=error,
        )
        return DONE


class AsyncConsumer(SyncConsumer):
    """``SyncConsumer`` under the name that says that your methods are ``async def``."""
