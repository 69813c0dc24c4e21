"""The application's answer to a WebSocket handshake: accept it, refuse it, or deny it with a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raceway.errors import InvalidMessage
from raceway.types import Event
from raceway.wire.events import Request
from raceway.wire.http1 import Http1Response
from raceway.wire.limits import EARLY_BYTES
from raceway.wire.websocket import Upgrade

if TYPE_CHECKING:
    from raceway.server.websocket import WebSocketConnection


class Handshake:
    """A handshake that is not answered yet (ASGI WebSocket 2.5; extension ``websocket.http.response``).

    ``early`` is what the client sent behind it.
    """

    __slots__ = ("began", "client", "connection", "denial", "early", "request", "upgrade")

    def __init__(
        self, connection: WebSocketConnection, request: Request, upgrade: Upgrade, early: bytes
    ) -> None:
        self.client = connection.client  # or whom a listed proxy names
        self.began = connection.shared.loop.time()
        self.connection = connection
        self.request = request
        self.upgrade = upgrade
        self.early = early
        self.denial: Http1Response | None = None

    def data_received(self, data: bytes) -> None:
        """Frames may follow at once (RFC 6455 section 4.1 asks clients to wait); they are kept, within bounds."""
        self.early += data
        if len(self.early) > EARLY_BYTES:
            self.connection.pause_for_application()

    def answer(self, kind: object, message: Event) -> None:
        """Take one message of the application. Raises ``InvalidMessage`` for one that is no answer."""
        if self.denial is not None:
            self._continue_denial(kind, message)
        elif kind == "websocket.accept":
            head = self.upgrade.response(message.get("subprotocol"), message.get("headers") or ())
            self.connection.write(head)
            self._log(101)
            self.connection.opened(self.upgrade.deflate, self.early)
        elif kind == "websocket.close":
            self.refuse(403, "The WebSocket was refused.")
        elif kind == "websocket.http.response.start":
            self._deny(message)
        else:
            raise InvalidMessage(
                f"{kind!r} is not allowed before the handshake is answered; expected websocket.accept, "
                "websocket.close or websocket.http.response.start."
            )

    def refuse(self, status: int, reason: str) -> None:
        """Answer with an error; a denial that has begun breaks off instead, and visibly so."""
        if self.denial is None:
            self._log(status)
        if self.denial is None or not self.denial.head_sent:
            self.connection.write_error(status, reason)
        self.connection.refused()

    def _deny(self, message: Event) -> None:
        denial = Http1Response("GET", "1.1", False)
        status: Any = message.get("status")
        denial.start(status, message.get("headers", ()), False, self.connection.shared.default_headers)
        self.denial = denial
        self._log(status)

    def _continue_denial(self, kind: object, message: Event) -> None:
        if kind != "websocket.http.response.body":
            raise InvalidMessage(f"{kind!r} is not allowed here; expected websocket.http.response.body.")
        assert self.denial is not None
        self.connection.write(self.denial.body(message.get("body", b""), message.get("more_body", False)))
        if self.denial.complete:
            self.connection.refused()

    def _log(self, status: int) -> None:
        shared = self.connection.shared
        if shared.access is not None:
            shared.access.add(self.client, self.request, status, 0, shared.loop.time() - self.began)
