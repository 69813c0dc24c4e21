"""Consumers of HTTP requests."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from raceway.conf import django_setting
from raceway.consumers.base import Consumer
from raceway.consumers.headers import HeaderFields, encode_headers
from raceway.consumers.response import ResponseRuntime
from raceway.done import DONE
from raceway.types import Event
from raceway.wire.limits import REQUEST_BODY_BYTES


class HttpConsumer(Consumer):
    """An HTTP request: write ``handle``, and complete the response there, or later in a handler of layer events.

    The request goes on until its response is complete or its client has gone, so it may wait for an event of the
    layer (a long poll). A client that leaves is noticed at once: an ``async def`` handler is cancelled.
    """

    _runtimes = {"http": ResponseRuntime}

    max_body_bytes: int | None = None
    """The most of a request's body that is collected, else 413; ``None``: ``DATA_UPLOAD_MAX_MEMORY_SIZE``."""

    _runtime: ResponseRuntime
    _received_body: bytearray | None = None

    # To override

    def handle(self, body: bytes) -> Any:
        """The request is here, with its whole ``body``."""
        raise NotImplementedError(f"{type(self).__qualname__} needs a method handle(self, body).")

    def disconnect(self) -> Any:
        """The request has ended: its response is complete, its client has gone, or a handler has failed."""
        return DONE

    # To call

    def send_headers(self, *, status: int = 200, headers: HeaderFields = ()) -> Awaitable[None]:
        """Begin the response."""
        fields = encode_headers(headers)
        return self._runtime.send({"type": "http.response.start", "status": status, "headers": fields})

    def send_body(self, body: bytes, *, more_body: bool = False) -> Awaitable[None]:
        """Send a piece of the body; the last one unless ``more_body``."""
        require_bytes(body)
        return self._runtime.send({"type": "http.response.body", "body": body, "more_body": more_body})

    def send_response(self, status: int, body: bytes, *, headers: HeaderFields = ()) -> Awaitable[None]:
        """Send a whole response."""
        require_bytes(body)
        fields = encode_headers(headers)
        if not any(name == b"content-length" for name, _ in fields):
            fields.append((b"content-length", b"%d" % len(body)))
        self.send_headers(status=status, headers=fields)
        return self.send_body(body)

    # The events as ASGI has them

    def http_request(self, event: Event) -> Awaitable[Any]:
        return self._finish_hook(self._collect_body(event))

    async def _collect_body(self, event: Event) -> None:
        body: bytes | bytearray = event.get("body", b"")
        if self._received_body is not None:
            self._received_body += body
            body = self._received_body
        if self._is_too_large(len(body)):
            self._runtime.answer(413, "The request's body is too large.")
        elif event.get("more_body", False):
            self._received_body = bytearray(body) if self._received_body is None else self._received_body
        else:
            self._received_body = None
            await self._call_hook("handle", bytes(body))
            self._require_response()

    def http_disconnect(self, event: Event) -> Awaitable[Any]:
        return self._call_hook("disconnect")

    def _is_too_large(self, size_bytes: int) -> bool:
        limit_bytes: int | None = self.max_body_bytes
        if limit_bytes is None:
            limit_bytes = django_setting("DATA_UPLOAD_MAX_MEMORY_SIZE", REQUEST_BODY_BYTES)
        return limit_bytes is not None and size_bytes > limit_bytes

    def _require_response(self) -> None:
        """Raise ``RuntimeError`` if nobody is left who could complete the response."""
        if self._runtime.is_complete or self.closed or self._runtime.awaits_events:
            return
        cls = type(self).__qualname__
        what = "completing its response" if self._runtime.is_started else "a response"
        raise RuntimeError(
            f"{cls}.handle() returned without {what}, and {cls} has no handler of layer events that could do it "
            "later: call send_response(), or send_body() without more_body, before handle() returns."
        )


class AsyncHttpConsumer(HttpConsumer):
    """``HttpConsumer`` under the name that says that your methods are ``async def``."""


def require_bytes(body: object) -> None:
    """Raise ``TypeError`` unless ``body`` can be sent."""
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"A body is bytes, not {type(body).__qualname__}: encode text first, body.encode().")
