"""The runtime of an HTTP request: the way of its response, and the end of both."""

from __future__ import annotations

from collections.abc import Awaitable
from threading import get_ident
from typing import ClassVar, Final

from raceway.consumers.handlers import Handlers
from raceway.consumers.outbox import Outbox
from raceway.consumers.runtime import Runtime
from raceway.done import DONE
from raceway.errors import ClientDisconnected, InvalidMessage
from raceway.layers.handover import handover_of
from raceway.registry import Closing
from raceway.types import Event, Receive, Scope, Send

AFTER_HEADERS: Final = frozenset(("http.response.body", "http.response.trailers", "http.response.pathsend"))


async def answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole response of one line of text."""
    for event in text_response("http", status, text, *headers):
        await send(event)


def text_response(kind: str, status: int, text: str, *headers: tuple[bytes, bytes]) -> list[Event]:
    """A whole response of one line of text; ``kind`` is ``http``, or ``websocket.http`` (a denial)."""
    body = f"{text}\n".encode()
    length = b"%d" % len(body)
    plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length), *headers]
    return [
        {"type": f"{kind}.response.start", "status": status, "headers": plain},
        {"type": f"{kind}.response.body", "body": body},
    ]


class ResponseOutbox(Outbox):
    """Send the events of a response, and nothing to a client that is given up: what it got is to look cut off."""

    __slots__ = ()

    carrying: ClassVar = "http.response.body"
    last_words: ClassVar[Event | None] = None

    def _weigh(self, event: Event) -> tuple[Event, int]:
        body = event.get("body", b"")
        if not isinstance(body, bytes):
            event = {**event, "body": bytes(body)}  # the caller may change a bytearray
        return event, len(body)


class ResponseRuntime(Runtime):
    """One HTTP request (ASGI HTTP 2.5): it goes on until its response is complete or its client has gone.

    A client that leaves is noticed at once: the handler in hand is cancelled without grace. Once the response is
    complete nobody can leave any more, and the handler may finish in peace.
    """

    outbox_class: ClassVar[type[Outbox]] = ResponseOutbox

    __slots__ = ("_has_trailers", "is_complete", "is_started")

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(handlers, scope, receive, send)
        self.is_started = False  # its status and headers are sent, or on their way
        self.is_complete = False
        self._has_trailers = False

    def put(self, event: Event) -> None:
        if event["type"] == self._farewell and self.is_complete:
            return
        self._begun = self._begun or event["type"] != self._farewell
        super().put(event)

    def close(self, closing: Closing) -> None:
        """End as a group message says: 403, or what has been said of the response is all of it."""
        if self.consumer.closed:
            return
        if self.is_started:
            self.send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            self.answer(403, "Forbidden")
        self._client_gone({"type": self._farewell})

    def answer(self, status: int, text: str, *headers: tuple[bytes, bytes]) -> Awaitable[None]:
        """Send a whole response of one line of text."""
        start, body = text_response("http", status, text, *headers)
        self.send(start)
        return self.send(body)

    def send(self, event: Event) -> Awaitable[None]:
        self._require_turn(event)
        if get_ident() != self.thread:
            handover_of(self._loop)(self._send_handed, self._send_here, event)
            return DONE
        return self._send_here(event)

    def _send_here(self, event: Event) -> Awaitable[None]:
        room = self._send_now(event)
        assert room is not None
        if self._is_last(event):
            assert self._outbox is not None
            self._outbox.shut()
            self.consumer.closed = True
            self._mailbox.clear()
            self._wake()
        return room

    def _require_turn(self, event: Event) -> None:
        """Note what ``event`` does to the response. Raises ``InvalidMessage`` where it cannot come now."""
        if self.is_complete and self._gone is None:
            raise InvalidMessage("The response is complete: nothing can be added to it.")
        if self.consumer.closed:
            raise ClientDisconnected("The client has gone.")
        if event["type"] == "http.response.start":
            if self.is_started:
                raise InvalidMessage("The response has begun already: its headers are sent once.")
            self.is_started = True
            self._has_trailers = bool(event.get("trailers"))
        elif not self.is_started and event["type"] in AFTER_HEADERS:
            raise InvalidMessage("The headers of a response come before its body: send them first.")
        self.is_complete = self._is_last(event)

    def _is_last(self, event: Event) -> bool:
        if event["type"] == "http.response.body":
            return not event.get("more_body", False) and not self._has_trailers
        if event["type"] == "http.response.trailers":
            return not event.get("more_trailers", False)
        return bool(event["type"] == "http.response.pathsend")

    def _is_listening(self) -> bool:
        return self._gone is None and not self.is_complete  # servers repeat a disconnect for ever

    def _keep_client_events(self) -> None:
        self._mailbox.clear()  # nobody waits for an answer

    def _default_grace_s(self) -> float:
        return 0.0

    async def _receive_first(self) -> Event | None:
        return None

    async def _refuse(self) -> None:
        await answer(self._send, 403, "Forbidden")

    def _is_abandoned(self) -> bool:
        return self._gone is not None and not self.is_complete
