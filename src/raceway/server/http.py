"""HTTP connections: requests in, one exchange with the application at a time, responses out in order."""

from __future__ import annotations

import asyncio
from collections import deque

from raceway.errors import ClientDisconnected
from raceway.server.connection import Connection
from raceway.server.deadlines import NEVER
from raceway.server.exchange import HttpExchange
from raceway.server.shared import Shared
from raceway.server.websocket import WebSocketConnection
from raceway.types import Headers
from raceway.wire.events import Body, End, HttpEvent, Request, Violation
from raceway.wire.http1 import Http1Reader
from raceway.wire.limits import (
    BODY_AHEAD_BYTES,
    DISCARD_BYTES,
    LAST_REQUEST_S,
    LINGER_BYTES,
    PIPELINED_EVENTS,
    REFUSED_AT_ONCE,
)
from raceway.wire.websocket import Refusal, read_upgrade


class HttpConnection(Connection):
    """Speak HTTP/1 with one client, until it leaves or its connection becomes a WebSocket.

    Events of requests that come before their turn wait in ``pending``: responses leave in the order of requests
    (RFC 9112 section 9.3.2).
    """

    __slots__ = (
        "advancing",
        "closing",
        "counted_address",
        "discarded_bytes",
        "exchange",
        "is_new",
        "mid_head",
        "pending",
        "read_paused",
        "reader",
        "sent_before_bytes",
    )

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.reader = Http1Reader(shared.limits)
        self.exchange: HttpExchange | None = None
        self.pending: deque[HttpEvent] | None = None
        self.advancing = False
        self.closing = False  # nothing more is read or answered
        self.is_new = True  # no request has been read, and none refused for a drain
        self.mid_head = False  # a request has begun to arrive
        self.read_paused = False
        self.discarded_bytes = 0
        self.sent_before_bytes = (
            0  # of the response at hand, when we last looked at a client that ended its side
        )
        self.counted_address: str | None = None

    # From the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's is one
        self.transport = transport
        shared = self.shared
        self.describe_peer(transport)
        shared.connections.add(self)
        high = shared.limits.write_buffer_bytes
        if high != BODY_AHEAD_BYTES:  # the default of both loops
            transport.set_write_buffer_limits(high=high)
        refusal = self._admit()
        if refusal is not None:
            shared.counters["connections_refused"] += 1
            shared.refused.add(self)
            if len(shared.refused) > REFUSED_AT_ONCE:
                self.closing = True
                self.abort()
            else:
                self._refuse(*refusal, [(b"retry-after", b"5")])
        elif shared.draining:
            self.drain()
        else:
            self.expect_read(shared.limits.first_byte_timeout_s)

    def _admit(self) -> tuple[int, str] | None:
        shared = self.shared
        if len(shared.connections) - len(shared.refused) > shared.max_connections:
            return 503, "Too many connections are open; try again later."
        host = self.client[0] if self.client is not None else None
        if host is not None and (host.startswith("127.") or host == "::1"):
            self.trusts_peer = shared.config.proxy_headers and host in shared.proxies
            return None
        listed = host in shared.proxies
        self.trusts_peer = listed and shared.config.proxy_headers
        most = shared.limits.connections_per_address
        if host is None or listed or not most:
            return None
        self.counted_address = host
        shared.per_address[host] += 1
        if shared.per_address[host] > most:
            return 429, "Too many connections from this address; try again later."
        return None

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self._discard(len(data))
            return
        events = self.reader.receive_data(data)
        if (
            len(events) == 1
            and self.exchange is None
            and not self.advancing
            and not self.paused
            and isinstance(events[0], Request)
        ):  # nothing waits before this request, which is the rule
            self.advancing = True  # an application may answer at once, within this call
            self._begin(events[0])
            self.advancing = False
            if self.pending:
                self.advance()
        elif events:
            self._take(events)
        elif not self.mid_head and self.exchange is None:
            # A head that has begun must end in time; pieces of it do not extend that time.
            self.mid_head = True
            self.expect_read(self.shared.limits.header_timeout_s)

    def eof_received(self) -> bool:
        if self.closing:
            return False
        self.half_closed = True
        events = self.reader.receive_eof()
        if events:
            self._take(events)
        exchange = self.exchange
        if exchange is None and not self.pending:
            self.close()
            return False
        if self.secure or (exchange is not None and exchange.is_event_stream):
            # TLS cannot be half-closed here; a stream's reader has no reason to end its side but to leave.
            self.flush()
            self._disconnect()
            return False
        if exchange is not None:
            self.expect_read(self.shared.limits.half_close_timeout_s)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.shared.refused.discard(self)
        address = self.hand_over()
        if address is not None:
            self.shared.release_address(address)
        self._disconnect()
        self._release(ClientDisconnected("The client has gone."))

    def hand_over(self) -> str | None:
        """Let go of the transport, or let a WebSocket have it; returns the address that this connection counts for."""
        if self.read_paused:
            self.read_paused = False
            self.resume_reading()
        self.closing = True
        self.read_deadline = NEVER
        self.shared.deadlines.forget(self)
        self.shared.connections.discard(self)
        address, self.counted_address = self.counted_address, None
        return address

    # Requests, in order

    def _take(self, events: list[HttpEvent]) -> None:
        if self.pending is None:
            self.pending = deque(events)
        else:
            self.pending.extend(events)
        self.advance()

    def advance(self) -> None:
        """Handle what waits, until something has to wait for the exchange before it."""
        if self.advancing:
            return
        self.advancing = True
        pending = self.pending
        while pending and not self.closing:
            event = pending[0]
            exchange = self.exchange
            if (exchange is not None and not exchange.wants(event)) or (exchange is None and self.paused):
                break
            pending.popleft()
            if isinstance(event, Request):
                self._begin(event)
            elif isinstance(event, Violation):
                self._violated(event)
            elif exchange is not None and isinstance(event, Body):
                exchange.feed(event.data)
            elif exchange is not None and isinstance(event, End):
                exchange.end_body()
        self.advancing = False
        if pending is not None and not pending:
            self.pending = None
        self.regulate()

    def _read_on(self) -> None:
        """Nothing waits any more: let the reader, which stops behind many pipelined requests, go on."""
        events = self.reader.resume()
        if events:
            self._take(events)

    def _begin(self, request: Request) -> None:
        self.is_new = self.mid_head = False
        if request.upgrade is not None:
            upgrade = read_upgrade(request, compression=self.shared.config.ws_compression)
            if isinstance(upgrade, Refusal):
                self._refuse(upgrade.status, upgrade.reason, upgrade.headers)
                return
            WebSocketConnection(self, request, upgrade, self.reader.take_rest())
            return
        self.exchange = exchange = HttpExchange(self, request)
        if request.ends_here:
            self._expect_nothing()
        else:
            self.expect_read(self.shared.limits.body_timeout_s)
        exchange.start()

    def exchange_over(self) -> None:
        """The response is complete, and the request is too: go on to the next one."""
        exchange = self.exchange
        if exchange is None:
            return
        self.exchange = None
        self.discarded_bytes = 0
        if self.closing:
            return
        if not exchange.response.keep_alive or self.shared.draining:
            self.close()
        elif self.pending:
            self.advance()
        elif self.reader.stopped:
            self._read_on()
        elif self.half_closed:
            self.close()
        elif not self.reader.idle:
            self.mid_head = True
            self.expect_read(self.shared.limits.header_timeout_s)
        else:
            self.expect_read(self.shared.limits.keep_alive_timeout_s)
        if self.read_paused:
            self.regulate()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.pending and self.exchange is None:
            self.advance()

    # Reading: who is owed what, and when it is time to stop

    def regulate(self) -> None:
        """Pause reading while the application or an earlier response is behind, resume when it caught up."""
        exchange = self.exchange
        behind = exchange is not None and exchange.unread_bytes > BODY_AHEAD_BYTES
        behind = behind or self.reader.stopped or len(self.pending or ()) > PIPELINED_EVENTS
        if behind is self.read_paused or self.closing or self.half_closed:
            return
        self.read_paused = behind
        if behind:
            self.pause_reading()
            self.read_deadline = NEVER
        else:
            self.resume_reading()
            if exchange is not None and not exchange.body_complete:
                self.expect_read(self.shared.limits.body_timeout_s)

    def on_read_deadline(self) -> None:
        exchange = self.exchange
        if self.closing:
            self.lingered()
        elif exchange is None:
            if self.transport.get_write_buffer_size():
                self.linger()
            elif self.mid_head:
                self._refuse(408, "The request head did not arrive in time.")
            else:
                self.close()
        elif self.half_closed:
            if self.paused or exchange.sent_bytes != self.sent_before_bytes:
                self._expect_nothing()
            else:
                self._disconnect()
                self.close()
        elif not exchange.body_complete:
            self._violated(Violation(408, "The request body did not arrive in time."))

    # Ends

    def _violated(self, violation: Violation) -> None:
        """The client broke the protocol, in the body of the current request or in the head of the next one."""
        exchange = self.exchange
        if exchange is None:
            self._refuse(violation.status, violation.reason)
            return
        answerable = not exchange.response.started
        exchange.disconnect()
        self.exchange = None
        if answerable:
            self._refuse(violation.status, violation.reason)
        else:
            self.closing = True
            self.abort()

    def _refuse(self, status: int, reason: str, headers: Headers | None = None) -> None:
        shared = self.shared
        shared.counters["requests_refused"] += 1
        if shared.access is not None:
            shared.access.add(self.client, None, status, 0, 0.0)
        self.write_error(status, reason, headers=headers)
        self.close()

    def discard_body(self, size_bytes: int) -> None:
        """The response is complete but its request still comes in: read on, within reason."""
        self.discarded_bytes += size_bytes
        if self.discarded_bytes > DISCARD_BYTES:
            self.close()

    def body_progressed(self) -> None:
        exchange = self.exchange
        if exchange is not None and not exchange.body_complete:
            self.expect_read(self.shared.limits.body_timeout_s)
        else:
            self._expect_nothing()

    def _expect_nothing(self) -> None:
        """The client owes us nothing; but one that has ended its side must be sent something now and then."""
        if self.half_closed and self.exchange is not None:
            self.sent_before_bytes = self.exchange.sent_bytes
            self.expect_read(self.shared.limits.half_close_timeout_s)
        else:
            self.read_deadline = NEVER

    def break_off(self, ends_with_connection: bool) -> None:
        """End a response that cannot be completed so that the client sees that it is not."""
        self.exchange = None
        if ends_with_connection:  # only a reset tells this end from the true one
            self.closing = True
            self.abort()
        else:
            self.close()

    def fail(self, status: int, reason: str) -> None:
        """The application gave no response: say so to the client in its stead."""
        exchange, self.exchange = self.exchange, None
        self.write_error(status, reason, head=exchange is not None and exchange.request.method == "HEAD")
        self.close()

    def close(self) -> None:
        """Answer nothing more; end the connection when what was written has arrived."""
        if not self.closing:
            self.closing = True
            self.pending = None
            self.finish()

    def _discard(self, size_bytes: int) -> None:
        self.discarded_bytes += size_bytes
        if self.discarded_bytes > LINGER_BYTES:
            self.pause_reading()

    def _disconnect(self) -> None:
        exchange, self.exchange = self.exchange, None
        self.pending = None
        if exchange is not None:
            exchange.disconnect()

    # Draining

    @property
    def is_stream(self) -> bool:
        return self.exchange is not None and self.exchange.is_event_stream

    def drain(self) -> None:
        if self.exchange is not None:
            self.exchange.ask_to_stop()
        elif self.is_new:  # its request is probably on the way
            self.is_new = False
            self.expect_read(LAST_REQUEST_S)
        else:
            self.close()
