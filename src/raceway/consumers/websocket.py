"""Consumers of WebSockets."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from raceway.close_codes import INVALID_DATA, NO_CODE, UNSUPPORTED_DATA, require_close_code
from raceway.consumers.base import Consumer
from raceway.consumers.headers import HeaderFields, encode_headers
from raceway.consumers.websocket_runtime import WebsocketRuntime
from raceway.done import DONE
from raceway.errors import AcceptConnection, DenyConnection, MalformedMessage
from raceway.json import decode_json, encode_json
from raceway.types import Event

logger = logging.getLogger("raceway.consumers")

_unanswered: set[type] = set()
"""Classes whose ``connect`` has left a handshake open, so that each is told of once."""


class WebsocketConnection(Consumer):
    """What can be done with a WebSocket, whatever handles it."""

    _runtime: WebsocketRuntime

    def accept(self, subprotocol: str | None = None, headers: HeaderFields | None = None) -> Awaitable[None]:
        """Accept the handshake, with one of the client's subprotocols and more response headers if given."""
        event: Event = {"type": "websocket.accept"}
        if subprotocol is None:
            subprotocol = self.scope.get("raceway.subprotocol")  # middleware read it, so it must be answered
        if subprotocol is not None:
            event["subprotocol"] = subprotocol
        if headers is not None:
            event["headers"] = encode_headers(headers)
        return self._runtime.send(event)

    def close(self, code: int | bool | None = None, reason: str | None = None) -> Awaitable[None]:
        """Close the socket, or refuse it if it has not been accepted. Nothing more is received.

        Raises ``InvalidMessage`` for a ``code`` that no close frame may carry.
        """
        event: Event = {"type": "websocket.close"}
        if code is not None and code is not True:
            require_close_code(code)
            event["code"] = code
        if reason:
            event["reason"] = reason
        return self._runtime.send(event)


class WebsocketConsumer(WebsocketConnection):
    """A WebSocket: override ``connect``, ``receive`` and ``disconnect`` as you need them.

    ``accept``, ``send`` and ``close`` act when they are called; await them in ``async def`` methods to wait for
    a slow client. They raise ``ClientDisconnected`` once the client has gone.
    """

    _runtimes = {"websocket": WebsocketRuntime}

    # To override

    def connect(self) -> Any:
        """The client asks to connect: ``accept()``, or ``close()`` to refuse with 403. The default accepts."""
        return self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> Any:
        """The client sent a message: text or bytes."""
        return DONE

    def disconnect(self, code: int) -> Any:
        """The connection has ended; called exactly once for each ``connect``. The groups are left already.

        ``code`` is the client's close code, or the one this consumer closed with; 1006 without either.
        """
        return DONE

    def on_error(self, error: Exception, event: Any) -> Any:
        """Decide what an exception does: raise to end the connection (1011), return to go on.

        The default closes on a message that cannot be read (its client's fault: logged at INFO, no traceback)
        and raises everything else.
        """
        if isinstance(error, MalformedMessage):
            logger.info("%s closes with %d: %s", type(self).__qualname__, error.code, error)
            return self.close(error.code)
        raise error

    # To call

    def send(
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> Awaitable[None]:
        """Send text or bytes to the client, and then ``close``, with that code if it is a number."""
        if text_data is not None:
            sent = self._runtime.send({"type": "websocket.send", "text": text_data})
        elif bytes_data is not None:
            sent = self._runtime.send({"type": "websocket.send", "bytes": bytes_data})
        else:
            raise ValueError("send() takes text_data or bytes_data")
        return sent if close is False else self.close(close)

    # The events as ASGI has them

    def websocket_connect(self, event: Event) -> Awaitable[Any]:
        return self._finish_hook(self._shake_hands())

    async def _shake_hands(self) -> None:
        try:
            await self._call_hook("connect")
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            await self.close()
        if not self._runtime.is_accepted and not self.closed and type(self) not in _unanswered:
            _unanswered.add(type(self))
            logger.warning(
                "%s.connect() has returned without accept() or close(): its client waits for one of them.",
                type(self).__qualname__,
            )
        await self._runtime.save()

    def websocket_receive(self, event: Event) -> Awaitable[Any]:
        text = event.get("text")
        if text is not None:
            return self._call_hook("receive", text_data=text)
        return self._call_hook("receive", bytes_data=event.get("bytes"))

    def websocket_disconnect(self, event: Event) -> Awaitable[Any]:
        return self._call_hook("disconnect", event.get("code", NO_CODE))


class JsonWebsocketConsumer(WebsocketConsumer):
    """A WebSocket that carries JSON: override ``receive_json``, call ``send_json``.

    A message that is not JSON closes the socket with 1007, a binary one with 1003; see ``on_error``.
    """

    def receive_json(self, content: Any, **kwargs: Any) -> Any:
        """The client sent ``content``."""
        return DONE

    def send_json(self, content: Any, close: bool | int = False) -> Awaitable[None]:
        """Send ``content`` as JSON text, and then ``close``, with that code if it is a number."""
        text = self.encode_json(content)
        if isinstance(text, str):
            return self.send(text, close=close)
        return self._send_encoded(text, close)

    @classmethod
    def encode_json(cls, content: Any) -> Any:
        """``content`` as JSON text; override it, as ``def`` or ``async def``, for another encoder."""
        return encode_json(content).decode()

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        """What JSON text says; override it, as ``def`` or ``async def``, for another decoder.

        Raises ``ValueError`` for text that cannot be read.
        """
        return decode_json(text_data)

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> Any:
        if not text_data:
            code = UNSUPPORTED_DATA if text_data is None else INVALID_DATA
            raise MalformedMessage("No text section for incoming WebSocket frame!", code)
        try:
            content = self.decode_json(text_data)
        except ValueError as error:
            raise MalformedMessage(f"The message is not JSON: {error}", INVALID_DATA) from error
        if isinstance(content, Awaitable):
            return self._receive_decoded(content, kwargs)
        return self._call_hook("receive_json", content, **kwargs)

    async def _send_encoded(self, text: Awaitable[str], close: bool | int) -> None:
        await self.send(await text, close=close)

    async def _receive_decoded(self, content: Awaitable[Any], kwargs: dict[str, Any]) -> None:
        try:
            decoded = await content
        except ValueError as error:
            raise MalformedMessage(f"The message is not JSON: {error}", INVALID_DATA) from error
        await self._call_hook("receive_json", decoded, **kwargs)


class AsyncWebsocketConsumer(WebsocketConsumer):
    """``WebsocketConsumer`` under the name that says that your methods are ``async def``."""


class AsyncJsonWebsocketConsumer(JsonWebsocketConsumer, AsyncWebsocketConsumer):
    """``JsonWebsocketConsumer`` under the name that says that your methods are ``async def``."""
