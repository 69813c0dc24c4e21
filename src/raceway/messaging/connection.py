"""A client's connection as messages: what it says goes to consumers, and what its reply channel is sent goes to it.

This is the half that holds the socket. What it knows of consumers is one function, ``consume``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeAlias

from raceway.close_codes import MESSAGE_TOO_BIG, NO_CODE, OVERLOADED
from raceway.consumers.handlers import Handlers
from raceway.consumers.http import HttpConsumer
from raceway.consumers.replies import websocket_events
from raceway.consumers.response import ResponseRuntime
from raceway.consumers.runtime import Runtime
from raceway.consumers.websocket import WebsocketConnection
from raceway.consumers.websocket_runtime import WebsocketRuntime
from raceway.done import DONE
from raceway.errors import ChannelFull, ClientDisconnected, InvalidMessage, LayerUnavailable, MessageTooLarge
from raceway.layers import decode_event
from raceway.layers.spec import client_message
from raceway.messaging.contents import handshake_content, path_in, request_content
from raceway.messaging.dispatch import Guard
from raceway.messaging.message import tell_once
from raceway.messaging.responses import response_events
from raceway.messaging.routing import CONNECT, DISCONNECT, GAP, HTTP_DISCONNECT, HTTP_REQUEST, RECEIVE
from raceway.prepared import PreparedMessage
from raceway.registry.policy import Policy
from raceway.types import Event, Receive, Scope, Send

logger = logging.getLogger("raceway.messaging")

Consume: TypeAlias = Callable[[str, dict[str, Any], Guard], Awaitable[None]]
"""Have a message consumed: its channel, its content, and what is to be around a call in a thread.

Raises ``ChannelFull`` or ``LayerUnavailable`` if nobody can take it now, ``MessageTooLarge`` if nobody ever can.
"""

ANSWER_S: Final = 120.0
"""How long a request waits for its response once it was consumed, in seconds: then it gets 503."""

HANDSHAKE_S: Final = 10.0
"""How long a handshake waits for its answer once it was consumed, in seconds: then it is refused."""

OVERTAXED: Final = (ChannelFull, LayerUnavailable)


@contextmanager
def in_thread(runtime: Runtime) -> Iterator[None]:
    """What is around a call in a thread of this connection: a client that leaves does not cancel it."""
    runtime.calls_in_thread += 1
    try:
        yield
    finally:
        runtime.calls_in_thread -= 1


# WebSockets


class MessageSocketRuntime(WebsocketRuntime):
    """A socket that does what its reply channel is told, at once, also while a consumer is at work."""

    __slots__ = ("_push_on",)

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(handlers, scope, receive, send)
        self._push_on: Callable[..., object]

    def deliver(self, encoded: bytes) -> bool:
        reply = decode_event(encoded)
        if self.consumer.closed:
            return True
        if reply.get("type") == "raceway.reply":
            self._send_handed(self._obey, reply)
        else:
            tell_once(
                f"A client was sent an event of type {reply.get('type')!r}, which nobody handles: a reply has "
                "'accept', 'text', 'bytes' or 'close'."
            )
        return True

    def _obey(self, reply: Event) -> Awaitable[Any]:
        for event in websocket_events(reply, self.is_accepted):
            if event["type"] == "websocket.accept":
                self.consumer.accept()  # type: ignore[attr-defined]  # it knows the subprotocol
            elif event["type"] == "websocket.send":  # the way of all data, so that it stays in order
                self._push_on(client_message(event.get("text"), event.get("bytes")), "close", None)
            else:
                self.send(event)
        return DONE

    def _open_ways(self, first: Event | None) -> None:
        super()._open_ways(first)
        self._push_on, self._push = self._push, self._push_or_accept

    def _push_or_accept(self, message: PreparedMessage, policy: Policy, key: object) -> object:
        """Data that is not empty answers a handshake too."""
        if not self.is_accepted and message.payload and not self.consumer.closed:
            self._send_handed(self._obey, {"accept": True})
        return self._push_on(message, policy, key)


class MessageSocket(WebsocketConnection):
    """One WebSocket: its events become messages, one at a time and in order."""

    _runtimes: ClassVar = {"websocket": MessageSocketRuntime}
    _answer: asyncio.TimerHandle | None = None

    def __init__(self, consume: Consume, alias: str) -> None:
        self.consume = consume
        self.channel_layer_alias = alias
        self._path = ""
        self._order = 0

    def on_error(self, error: Exception, event: Any) -> Any:
        """The socket stays open, but if there is none yet."""
        logger.error("%s cannot be served.", self.channel_name or CONNECT, exc_info=error)
        if event is not None and event["type"] == CONNECT and not self.closed:
            return self.close()
        return DONE

    async def websocket_connect(self, event: Event) -> None:
        self._require_layer()
        content = handshake_content(self.scope, self.channel_name)
        self._path = content["path"]
        await self._consume(CONNECT, content)
        if not self._runtime.is_accepted and not self.closed:
            self._answer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._refuse_late)

    async def websocket_receive(self, event: Event) -> None:
        text = event.get("text")
        said = {"text": text} if text is not None else {"bytes": event["bytes"]}
        await self._consume(RECEIVE, self._content(said))

    async def websocket_disconnect(self, event: Event) -> None:
        if self._answer is not None:
            self._answer.cancel()
        await self._consume(DISCONNECT, self._content({"code": event.get("code", NO_CODE)}))

    async def on_gap(self, reason: str) -> None:
        """Messages to the groups of this socket may have been missed."""
        await self._consume(GAP, self._content({"reason": reason}))

    def _content(self, said: dict[str, Any]) -> dict[str, Any]:
        self._order += 1
        return {
            "reply_channel": self.channel_name,
            "path": self._path,
            "order": self._order,
            **said,
        }

    async def _consume(self, channel: str, content: dict[str, Any]) -> None:
        try:
            await self.consume(channel, content, lambda: in_thread(self._runtime))
        except OVERTAXED as error:
            logger.warning("%s is lost: %s", channel, error)
            if not self.closed:
                if not self._runtime.is_accepted:
                    self.accept()  # for browsers are not told why a handshake was refused
                self.close(OVERLOADED, "overloaded")
        except MessageTooLarge as error:
            logger.info("%s is lost: %s", channel, error)
            if not self.closed:
                self.close(MESSAGE_TOO_BIG)

    def _refuse_late(self) -> None:
        if not self._runtime.is_accepted and not self.closed:
            logger.warning("No consumer has answered a handshake within %g s: it is refused.", HANDSHAKE_S)
            self.close()


# Requests


class MessageRequestRuntime(ResponseRuntime):
    """A request whose response comes over its reply channel."""

    __slots__ = ()

    def deliver(self, encoded: bytes) -> bool:
        if not self.consumer.closed and not self.is_complete:
            self._send_handed(self._respond, decode_event(encoded))
        return True

    def _respond(self, reply: Event) -> None:
        for event in response_events(reply, self.is_started):
            self.send(event)

    def _send_handed(self, send: Callable[[Any], object], what: object) -> None:
        try:
            send(what)
        except ClientDisconnected:
            return
        except (InvalidMessage, TypeError, ValueError) as error:
            logger.error("The response to %s ends: %s", self.consumer.channel_name, error)
            self.give_up(500, "Internal Server Error")

    def give_up(self, status: int, text: str) -> None:
        """End the response: with ``status``, or cut off if it has begun."""
        if self.is_complete or self.consumer.closed:
            return
        if self.is_started:
            self._client_gone({"type": "http.disconnect"})
        else:
            self.answer(status, text)


class MessageRequest(HttpConsumer):
    """One HTTP request: it becomes a message with the whole body, and waits for its response."""

    _runtimes: ClassVar = {"http": MessageRequestRuntime}
    _runtime: MessageRequestRuntime
    _answer: asyncio.TimerHandle | None = None

    def __init__(self, consume: Consume, alias: str) -> None:
        self.consume = consume
        self.channel_layer_alias = alias

    async def handle(self, body: bytes) -> None:
        self._require_layer()
        content = request_content(self.scope, self.channel_name, body)
        try:
            await self.consume(HTTP_REQUEST, content, lambda: in_thread(self._runtime))
        except OVERTAXED as error:
            logger.warning("%s is refused: %s", HTTP_REQUEST, error)
            self._runtime.give_up(503, "Service Unavailable")
        except MessageTooLarge as error:
            logger.info("%s is refused: %s", HTTP_REQUEST, error)
            self._runtime.give_up(413, "Content Too Large")
        if not self.closed:
            loop = asyncio.get_running_loop()
            self._answer = loop.call_later(ANSWER_S, self._runtime.give_up, 503, "Service Unavailable")

    async def disconnect(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
        if not self._runtime.is_complete:
            content = {"reply_channel": self.channel_name, "path": path_in(self.scope)}
            try:
                await self.consume(HTTP_DISCONNECT, content, lambda: in_thread(self._runtime))
            except OVERTAXED as error:
                logger.warning("%s is lost: %s", HTTP_DISCONNECT, error)

    def _require_response(self) -> None:
        """It may come later, from anywhere."""
