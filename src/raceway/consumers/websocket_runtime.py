"""The runtime of a WebSocket: its handshake, its ways in and out, and its close."""

from __future__ import annotations

from collections.abc import Awaitable
from threading import get_ident
from typing import Any, ClassVar

from raceway.close_codes import ABNORMAL, NORMAL
from raceway.consumers.handlers import Handlers
from raceway.consumers.replies import websocket_events
from raceway.consumers.runtime import Runtime
from raceway.done import DONE
from raceway.errors import ClientDisconnected
from raceway.layers.handover import handover_of
from raceway.layers.spec import client_event, client_message
from raceway.prepared import PreparedMessage
from raceway.registry import Closing
from raceway.types import Event, Receive, Scope, Send


class WebsocketRuntime(Runtime):
    """One WebSocket (ASGI WebSocket 2.5): by the server's own lane where there is one, else by an outbox."""

    takes_pushes: ClassVar = True

    __slots__ = ("_close_code", "is_accepted")

    def __init__(self, handlers: Handlers, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(handlers, scope, receive, send)
        self.is_accepted = False
        self._close_code = ABNORMAL

    def close(self, closing: Closing) -> None:
        """Close as a group message says; it does not wait for handlers."""
        if not self.consumer.closed:
            self.send(client_event(closing))

    def send(self, event: Event) -> Awaitable[None]:
        """Send now, from any thread; awaiting what is returned waits for room.

        Raises ``ClientDisconnected`` when the connection is closed, and what the server says of ``event``.
        """
        if get_ident() != self.thread:
            return self._send_from_thread(event)
        if self.consumer.closed:
            raise ClientDisconnected("The connection is closed.")
        room = self._send_now(event)
        if event["type"] != "websocket.send":
            self._note(event)
        return room or DONE

    def _note(self, event: Event) -> None:
        if event["type"] == "websocket.accept":
            self.is_accepted = True
        elif event["type"] == "websocket.close":
            if self.is_accepted:
                self._close_code = event.get("code") or NORMAL
            self.consumer.closed = True
            self._mailbox.clear()
            if self._pump is not None:
                self._pump.cancel()  # Granian does not close while somebody waits in receive
                if self._waiter is None and self._grace is None:
                    self._start_grace()  # and then nobody tells the handler in hand that its client has gone
            self._wake()

    def _send_from_thread(self, event: Event) -> Awaitable[None]:
        if self.consumer.closed:
            raise ClientDisconnected("The connection is closed.")
        if event["type"] == "websocket.send":
            message = client_message(event.get("text"), event.get("bytes"))
            handover_of(self._loop)(self._send_handed, self._send_prepared, message)
        else:
            handover_of(self._loop)(self._send_handed, self.send, event)
        return DONE

    def _send_prepared(self, message: PreparedMessage) -> None:
        """Send what a thread sent: it cannot wait, so a slow client's bound applies as for pushes."""
        if self._outbox is None:
            self._push(message, "close", None)
        else:
            self.send(client_event(message))

    def _forward(self, event: Event) -> Awaitable[Any]:
        """Send a client message that came as an event, for it carries more than a client message does."""
        return self.send(event)

    def _obey(self, reply: Event) -> Awaitable[Any]:
        """Accept, send and close as a message of the first generation says; awaiting waits for room."""
        room: Awaitable[Any] = DONE
        for event in websocket_events(reply, self.is_accepted):
            room = self.send(event)
        return room

    # Opening and ending

    def _open_ways(self, first: Event | None) -> None:
        lane = self._find_lane()
        if lane is None:
            super()._open_ways(first)
            return
        self._send_now, self._push = lane["send_now"], lane["push"]
        if first is not None:
            self.put(first)
        if lane.get("receive", self._receive) == self._receive:
            self._drained = lane["listen"](self.put)
        else:
            self._start_pump()

    def _find_lane(self) -> dict[str, Any] | None:
        """The server's own functions, if nobody wraps its ``send``."""
        lane: dict[str, Any] | None = self.scope.get("extensions", {}).get("raceway.push")
        return lane if lane is not None and lane["send"] is self._send else None

    async def _refuse(self) -> None:
        """Tell the client that ``prepare`` has denied the connection."""
        await self._send({"type": "websocket.close"})

    def _end_code(self) -> int:
        return self._close_code
