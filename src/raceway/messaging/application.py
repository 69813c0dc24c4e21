"""ASGI applications of message consumers: served in the server's process, or by whoever receives from a layer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from raceway.consumers.application import ConsumerApplication
from raceway.consumers.channel_functions import serve_channel
from raceway.layers import Channel
from raceway.messaging.connection import MessageRequest, MessageSocket
from raceway.messaging.contents import request_content
from raceway.messaging.dispatch import Dispatcher, Guard, send_again
from raceway.messaging.message import Message
from raceway.messaging.routing import GAP, HTTP_REQUEST, OF_CONNECTIONS, Router, Routing
from raceway.messaging.views import ViewConsumer
from raceway.routing import URLRouter
from raceway.routing.begin import begin
from raceway.routing.paths import path_to_route
from raceway.types import ASGIApplication, Event, Prepare, RacewayApplication, Receive, Scope, Send


class MessageApplication(RacewayApplication):
    """Serve WebSockets, HTTP requests and named channels with the consumers of a 1.x routing.

    A request that goes to ``ViewConsumer``, as it does without a route of its own, is handed to ``http`` as it is;
    without ``http`` it is read and sent to Django as a message.
    """

    def __init__(
        self, routing: Routing, *, http: ASGIApplication | None = None, alias: str = "default"
    ) -> None:
        self.router = Router(routing)
        self.routed_channels = self.router.channels
        self.router.check_default()
        self.http = http
        self.alias = alias
        self._dispatcher = Dispatcher(self.router)
        self._workers_dispatcher = Dispatcher(self.router, send_again)
        self._sockets = ConsumerApplication(MessageSocket, {"consume": self._consume, "alias": alias})
        self._requests = ConsumerApplication(MessageRequest, {"consume": self._consume, "alias": alias})

    def channel_names(self) -> set[str]:
        """The named channels, which workers listen to: all that no client's connection fills."""
        return self.routed_channels - OF_CONNECTIONS

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        if scope["type"] == "websocket":
            return self._sockets.raceway_begin(scope, receive, send, prepares)
        if scope["type"] == "channel":
            return serve_channel(dict(scope), receive, prepares, self._consume_named)
        if scope["type"] != "http":
            raise ValueError(f"MessageApplication does not serve {scope['type']!r} connections")
        if self.http is not None and self._is_for_views(scope):
            return begin(self.http, scope, receive, send, prepares)
        return self._requests.raceway_begin(scope, receive, send, prepares)

    def _is_for_views(self, scope: Scope) -> bool:
        match = self.router.match(Message(request_content(scope, "unknown", b""), HTTP_REQUEST, self.alias))
        return match is not None and match[0] is ViewConsumer

    async def _consume(self, channel: str, content: dict[str, Any], guard: Guard) -> None:
        await self._dispatcher.consume(Message(content, channel, self.alias), guard)

    async def _consume_named(self, channel: str, event: Event) -> None:
        await self._workers_dispatcher.consume(Message(dict(event), channel, self.alias))


class RoutedFirst(RacewayApplication):
    """Serve a WebSocket with ``application`` if that has a route for its path, else with ``messages``."""

    def __init__(self, application: URLRouter, messages: ASGIApplication) -> None:
        self.application = application
        self.messages = messages

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        is_routed = self.application.resolve(path_to_route(scope)) is not None
        return begin(self.application if is_routed else self.messages, scope, receive, send, prepares)


class LayerApplication(RacewayApplication):
    """Put what clients say on the channels ``http.request``, ``websocket.connect`` and so on of a layer.

    Whoever receives from those serves the clients, in a thread or in another process, by sending to the
    ``reply_channel`` that each message names. A full channel is 503 for a request, and 1013 for a WebSocket.
    """

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias
        self._sockets = ConsumerApplication(MessageSocket, {"consume": self._put, "alias": alias})
        self._requests = ConsumerApplication(MessageRequest, {"consume": self._put, "alias": alias})

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        if scope["type"] not in ("websocket", "http"):
            raise ValueError(f"LayerApplication does not serve {scope['type']!r} connections")
        serve = self._sockets if scope["type"] == "websocket" else self._requests
        return serve.raceway_begin(scope, receive, send, prepares)

    async def _put(self, channel: str, content: dict[str, Any], guard: Guard) -> None:
        if channel != GAP:  # which is of no use to somebody who knows only what the first generation had
            await Channel(channel, self.alias).asend(content, immediate=True)
