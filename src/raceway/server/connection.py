"""What HTTP and WebSocket connections have in common: joined writes, room to write, and one deadline."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Final

from raceway.server.deadlines import NEVER, SLOT_S
from raceway.server.shared import Shared
from raceway.types import Headers
from raceway.wire.http1 import error_response

JOIN_BYTES: Final = 64 * 1024
"""Pieces written in one pass of the loop are joined up to this size; then they are written at once."""

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends a reset instead of an ordinary end."""

Address = tuple[str, int]


class Connection(asyncio.Protocol):
    """One client's connection, whatever it speaks. Subclasses decide what its bytes mean.

    ``read_deadline``: when the client must have sent what it owes. ``write_deadline``: when it must have taken
    something of what waits for it. Both in the loop's time, ``NEVER`` where nothing is owed.
    """

    __slots__ = (
        "client",
        "half_closed",
        "lost",
        "out",
        "out_bytes",
        "paused",
        "read_deadline",
        "secure",
        "server",
        "shared",
        "slot",
        "transport",
        "trusts_peer",
        "unsent_bytes",
        "waiting",
        "write_deadline",
    )

    transport: asyncio.Transport

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.paused = False
        self.lost = False
        self.half_closed = False  # the client has ended its side
        self.secure = False
        self.trusts_peer = False
        self.client: Address | None = None
        self.server: tuple[str, int | None] | None = None
        self.waiting: list[asyncio.Future[None]] | None = None
        self.unsent_bytes = 0  # in the transport, when last looked at
        self.read_deadline: float = NEVER
        self.write_deadline: float = NEVER
        self.slot: float = NEVER

    # Writing

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this pass of the loop, in one piece with whatever else is written in it."""
        out = self.out
        out.append(data)
        if len(out) == 1:
            self.shared.flusher.mark(self)
        self.out_bytes += len(data)
        if self.out_bytes > JOIN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was written in this pass to the transport now."""
        if self.out:
            data = self.out[0] if len(self.out) == 1 else b"".join(self.out)
            self.out.clear()
            self.out_bytes = 0
            if not self.lost:
                self.transport.write(data)

    def pause_writing(self) -> None:
        self.paused = True
        self._expect_taking()

    def _expect_taking(self) -> None:
        """The client must take some of what waits for it, again and again, until nothing waits."""
        self.unsent_bytes = self.transport.get_write_buffer_size()
        self.expect(self.read_deadline, self.shared.loop.time() + self.shared.limits.write_timeout_s)

    def resume_writing(self) -> None:
        self.paused = False
        self.write_deadline = NEVER
        self._release(None)

    def room(self) -> asyncio.Future[None]:
        """A future that is done when the client has taken enough for more to be written."""
        future = self.shared.loop.create_future()
        if self.waiting is None:
            self.waiting = [future]
        else:
            self.waiting.append(future)
        return future

    def _release(self, error: Exception | None) -> None:
        waiting, self.waiting = self.waiting, None
        for future in waiting or ():
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
                    future.exception()  # who does not await it need not hear of it

    # Time

    @property
    def deadline(self) -> float:
        return min(self.read_deadline, self.write_deadline)

    def expect(self, read_deadline: float, write_deadline: float = NEVER) -> None:
        """Set both deadlines and make sure that they are noticed."""
        self.read_deadline = read_deadline
        self.write_deadline = write_deadline
        if min(read_deadline, write_deadline) < self.slot * SLOT_S:
            self.shared.deadlines.watch(self)

    def expect_read(self, after_s: float) -> None:
        """The client owes us something within ``after_s`` seconds."""
        # The last tick is at most a slot ago: adding one keeps the deadline from coming early.
        self.read_deadline = when = self.shared.now + SLOT_S + after_s
        if when < self.slot * SLOT_S:
            self.shared.deadlines.watch(self)

    def on_deadline(self, now: float) -> None:
        if self.write_deadline <= now:
            self.write_deadline = NEVER
            unsent_bytes = self.transport.get_write_buffer_size()
            if unsent_bytes and unsent_bytes >= self.unsent_bytes:
                self.shared.counters["write_timeouts"] += 1
                self.abort()
            elif unsent_bytes:
                self._expect_taking()
        elif self.read_deadline <= now:
            self.read_deadline = NEVER
            self.on_read_deadline()

    def on_read_deadline(self) -> None:
        """The client has not sent in time what it owed."""
        raise NotImplementedError

    # The end

    def write_error(
        self, status: int, reason: str, *, headers: Headers | None = None, head: bool = False
    ) -> None:
        """Write a whole response that is the server's own; ``head``: it answers a HEAD, so without a body."""
        lines = [b"%s: %s\r\n" % field for field in headers or ()]
        self.write(
            error_response(
                status, reason, head=head, header_lines=(*self.shared.default_headers.values(), *lines)
            )
        )

    def finish(self) -> None:
        """Send what was written, end our side, and read on for a while so that the client can take it all.

        Closing a socket that has unread bytes resets it, and a reset destroys what the client has not read yet.
        """
        self.flush()
        if self.lost:
            return
        if self.half_closed or self.secure:
            # Nothing more can come, so nothing can be reset; or TLS, whose own end must be said (RFC 8446 section 6.1).
            self.transport.close()
            self.linger()
            return
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
        except OSError:  # asyncio's own: the client has reset the connection, and we are the first to see it
            self.transport.abort()
            return
        self.resume_reading()
        self.linger()

    def linger(self) -> None:
        """Wait for the client to close; as long as it takes what was written, the time has not begun."""
        self.expect_read(self.shared.limits.linger_timeout_s)
        if self.write_deadline == NEVER and self.transport.get_write_buffer_size():
            self._expect_taking()

    def lingered(self) -> None:
        """The time to close is over."""
        if self.transport.get_write_buffer_size():
            self.linger()
        else:
            self.transport.abort()

    def abort(self) -> None:
        """Drop the connection with a reset: what was not sent is lost, and the client sees that it is."""
        self.out.clear()
        self.out_bytes = 0
        sock = self.transport.get_extra_info("socket")
        if sock is not None and self.client is not None and not self.lost:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    def pause_reading(self) -> None:
        if not self.lost and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.lost and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.out.clear()
        self.read_deadline = self.write_deadline = NEVER
        self.shared.deadlines.forget(self)
        self.shared.connections.discard(self)

    # Draining

    def drain(self) -> None:
        """The server is stopping: end as soon as that is polite."""
        raise NotImplementedError

    @property
    def is_stream(self) -> bool:
        """Whether the connection stays open until somebody ends it."""
        return False

    def describe_peer(self, transport: Any) -> None:
        """Note once what the scopes of this connection say of its two ends (ASGI HTTP, ``client``, ``server``)."""
        self.secure = transport.get_extra_info("sslcontext") is not None
        peer = transport.get_extra_info("peername")
        sock = transport.get_extra_info("sockname")
        self.client = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        if isinstance(sock, tuple):
            self.server = (sock[0], sock[1])
        elif sock:
            self.server = (sock.decode() if isinstance(sock, bytes) else sock, None)
