"""Consumers of server-sent events: a stream of messages that a browser reads with ``EventSource``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Hashable
from typing import Any, ClassVar, Final

from raceway.consumers.base import Consumer
from raceway.consumers.handlers import Handlers, drop_unknown
from raceway.consumers.headers import HeaderFields, encode_headers
from raceway.consumers.outbox import Outbox
from raceway.consumers.response import ResponseOutbox, ResponseRuntime
from raceway.done import DONE
from raceway.errors import AcceptConnection, ClientDisconnected, DenyConnection
from raceway.json import encode_json
from raceway.prepared import SSE, Form, PreparedMessage, Pushed
from raceway.registry.policy import Policy
from raceway.types import Event, Headers, Receive, Scope, Send
from raceway.wire.sse import comment, encode_event

logger = logging.getLogger("raceway.consumers")

KEEP_ALIVE_S: Final = 15.0
"""Between two comments, by which proxies see that a quiet stream is alive, and the server that its client is."""

STREAM_HEADERS: Final = {
    b"content-type": b"text/event-stream; charset=utf-8",
    b"cache-control": b"no-cache",
    b"x-accel-buffering": b"no",  # nginx would hold the events back
}

COMMENT: Final = comment()
END: Final[Event] = {"type": "http.response.body", "body": b"", "more_body": False}


class EventStreamOutbox(ResponseOutbox):
    """Send a stream; a client that is too slow sees it end, and comes back."""

    __slots__ = ()

    last_words: ClassVar[Event | None] = END

    def push(self, message: PreparedMessage, policy: Policy = "close", key: Hashable = None) -> Pushed:
        if not message.is_text:
            if not self.dropped:
                logger.warning("A binary message cannot be sent as a server-sent event: it is dropped.")
            self.dropped += 1
            return Pushed.DROPPED
        return super().push(message, policy, key)

    def _opens(self, event: Event) -> bool:
        return bool(event["type"] == "http.response.start" and event["status"] == 200)

    def _as_event(self, message: PreparedMessage) -> Event:
        body = message.form(SSE, _encode)
        return {"type": "http.response.body", "body": body, "more_body": True}


def _encode(message: PreparedMessage, kind: Form) -> bytes:
    return encode_event(message.payload)


class EventStreamRuntime(ResponseRuntime):
    """A response that begins with ``accept`` and goes on until somebody ends it."""

    outbox_class: ClassVar[type[Outbox]] = EventStreamOutbox
    takes_pushes: ClassVar = True

    __slots__ = ("_beat_timer",)

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(handlers, scope, receive, send)
        self._beat_timer: asyncio.TimerHandle | None = None

    def start_beats(self) -> None:
        """Send comments from now on; in the loop's thread."""
        interval_s = self.consumer.keep_alive_s  # type: ignore[attr-defined]
        if interval_s:
            self._beat_timer = self._loop.call_later(interval_s, self._beat)

    def _beat(self) -> None:
        if self.consumer.closed:
            return
        assert self._outbox is not None
        if not self._outbox.is_sending:
            self._outbox.add({"type": "http.response.body", "body": COMMENT, "more_body": True})
        self.start_beats()

    def _require_turn(self, event: Event) -> None:
        if self.is_complete:
            raise ClientDisconnected("The stream is closed.")
        super()._require_turn(event)

    def _send_here(self, event: Event) -> Awaitable[None]:
        if event["type"] == "http.response.start":
            self.start_beats()
        return super()._send_here(event)

    def _forward(self, event: Event) -> Awaitable[Any]:
        text = event.get("text")
        if not isinstance(text, str):
            return drop_unknown(self.consumer, event)
        sent: Awaitable[None] = self.consumer.send(text)  # type: ignore[attr-defined]
        return sent

    async def _stop_tasks(self) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        await super()._stop_tasks()


class SseConsumer(Consumer):
    """A stream of server-sent events: override ``connect`` and ``disconnect``, and call ``send`` from handlers.

    Text that is broadcast to a group arrives as an event without a name (``EventSource.onmessage``). A browser
    reconnects by itself when the stream ends, also after ``close()``; a refusal ends that.
    """

    _runtimes = {"http": EventStreamRuntime}

    keep_alive_s: float | None = KEEP_ALIVE_S
    """Seconds between two comments that show a quiet stream is alive; ``None`` sends none."""

    _runtime: EventStreamRuntime
    _has_asked = False

    # To override

    def connect(self) -> Any:
        """A client asks for the stream: ``accept()``, or ``close()`` to refuse with 403. The default accepts."""
        return self.accept()

    def disconnect(self) -> Any:
        """The stream has ended; called exactly once for each ``connect``. The groups are left already."""
        return DONE

    # To call

    @property
    def last_event_id(self) -> str | None:
        """The ``id`` of the last event that a reconnecting browser has seen."""
        for name, value in self.scope["headers"]:
            if name == b"last-event-id":
                return str(value.decode("utf-8", "replace"))
        return None

    def accept(self, headers: HeaderFields = ()) -> Awaitable[None]:
        """Begin the stream, with more response headers if given."""
        fields = {**STREAM_HEADERS, **dict(encode_headers(headers))}
        self._runtime.send({"type": "http.response.start", "status": 200, "headers": list(fields.items())})
        return self._send_chunk(COMMENT)  # servers and proxies keep a head until something follows it

    def send(
        self,
        data: str | bytes,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002  its name in the standard
        retry_ms: int | None = None,
    ) -> Awaitable[None]:
        """Send one event: text, or UTF-8.

        ``event`` is its name (``addEventListener``), ``id`` what a reconnecting browser repeats as
        ``last_event_id``, ``retry_ms`` how long it waits before it reconnects. Raises ``ValueError`` for a name or
        id that is more than one line.
        """
        if not isinstance(data, str | bytes):
            raise TypeError(
                f"An event is text, not {type(data).__qualname__}: send_json() sends other values."
            )
        return self._send_chunk(encode_event(data, event=event, event_id=id, retry_ms=retry_ms))

    def send_json(
        self,
        content: Any,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002  its name in the standard
        retry_ms: int | None = None,
    ) -> Awaitable[None]:
        """Send ``content`` as JSON; the rest as ``send`` has it."""
        return self.send(encode_json(content), event=event, id=id, retry_ms=retry_ms)

    def close(self) -> Awaitable[None]:
        """End the stream, or refuse it with 403 if it has not been accepted."""
        if self._runtime.is_started:
            return self._runtime.send(END)
        return self._runtime.answer(403, "Forbidden")

    # The events as ASGI has them

    def http_request(self, event: Event) -> Awaitable[Any]:
        return self._finish_hook(self._answer_request())

    async def _answer_request(self) -> None:
        if self._has_asked:
            return  # a body, which nobody reads
        if self.scope["method"] != "GET":
            self._runtime.answer(405, "A stream of events is served here: use GET.", (b"allow", b"GET"))
        elif not _accepts_stream(self.scope["headers"]):
            self._runtime.answer(406, "A stream of events is served here: accept text/event-stream.")
        else:
            self._has_asked = True
            try:
                await self._call_hook("connect")
            except AcceptConnection:
                self.accept()
            except DenyConnection:
                self.close()
            await self._runtime.save()

    def http_disconnect(self, event: Event) -> Awaitable[Any]:
        return self._call_hook("disconnect") if self._has_asked else DONE

    def _send_chunk(self, body: bytes) -> Awaitable[None]:
        return self._runtime.send({"type": "http.response.body", "body": body, "more_body": True})


def _accepts_stream(headers: Headers) -> bool:
    """Whether the client takes what we have (RFC 9110 section 12.5.1); it need not say so."""
    ranges = b",".join(value for name, value in headers if name == b"accept")
    if not ranges.strip():
        return True
    for media_range in ranges.lower().replace(b" ", b"").split(b","):
        kind, *parameters = media_range.split(b";")
        is_refused = any(one.startswith(b"q=") and not one[2:].strip(b"0.") for one in parameters)
        if kind in (b"text/event-stream", b"text/*", b"*/*") and not is_refused:
            return True
    return False
