"""What the event loop and the kernel cost alone: the least that any asyncio server pays.

``python -m benchmarks.floor echo|hello|broadcast|room|bare PORT`` serves on uvloop. It opens WebSockets properly, then
knows the size of what the load generator sends and answers with bytes built beforehand: no parsing, no ASGI,
no limits.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from benchmarks.apps import BROADCAST_BYTES, own_passes

ECHO_BYTES = 64
MASKED_FRAME_BYTES = 2 + 4 + ECHO_BYTES
ECHO_FRAME = bytes([0x81, ECHO_BYTES]) + b"x" * ECHO_BYTES
BROADCAST_FRAME = bytes([0x81, 126]) + BROADCAST_BYTES.to_bytes(2, "big") + b"x" * BROADCAST_BYTES
CLOSING_FRAME = bytes([0x88, 2]) + (1000).to_bytes(2, "big")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


class Hello(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


class Handshake(asyncio.Protocol):
    """Opens a WebSocket (RFC 6455 section 4.2.2), then leaves the transport to ``opened``'s protocol."""

    def __init__(self, opened: Callable[[asyncio.Transport], asyncio.Protocol]) -> None:
        self.opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.transport.set_protocol(self.opened(self.transport))


class Echo(asyncio.Protocol):
    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ECHO_FRAME * (len(data) // MASKED_FRAME_BYTES))


class Broadcast(asyncio.Protocol):
    writes: set[Callable[[bytes], None]] = set()
    publishing: asyncio.Task[None] | None = None

    def __init__(self, transport: asyncio.Transport) -> None:
        self.write = transport.write
        self.writes.add(self.write)

    def connection_lost(self, exc: Exception | None) -> None:
        self.writes.discard(self.write)

    def data_received(self, data: bytes) -> None:
        count = bytes(byte ^ data[2 + i % 4] for i, byte in enumerate(data[6:]))
        self.publishing = asyncio.ensure_future(self.publish(int(count)))

    async def publish(self, count: int) -> None:
        for _ in range(count):
            for write in self.writes:
                write(BROADCAST_FRAME)
            await own_passes(len(self.writes))


class Room(Broadcast):
    """One broadcast for each message of a client, whatever it says."""

    def data_received(self, data: bytes) -> None:
        for write in self.writes:
            write(BROADCAST_FRAME)


class Bare(asyncio.Protocol):
    """A long message is echoed; a short one is the closing frame, which is answered."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if len(data) == MASKED_FRAME_BYTES:
            self.transport.write(ECHO_FRAME)
        else:
            self.transport.write(CLOSING_FRAME)
            self.transport.close()


PROTOCOLS: dict[str, Callable[[], asyncio.Protocol]] = {
    "hello": Hello,
    "echo": lambda: Handshake(Echo),
    "broadcast": lambda: Handshake(Broadcast),
    "room": lambda: Handshake(Room),
    "bare": lambda: Handshake(Bare),
}


async def serve(protocol: Callable[[], asyncio.Protocol], port: int) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(PROTOCOLS[sys.argv[1]], int(sys.argv[2])))
