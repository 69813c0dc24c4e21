"""A blocking WebSocket client whose handshake and frames are built by hand (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from tests.server.rawhttp import Malformed, RawClient, Response

KEY = base64.b64encode(bytes(range(16))).decode()
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x11\x22\x33\x44"


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False

    @property
    def code(self) -> int | None:
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    if not payload:
        return b""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK
) -> bytes:
    """One client frame; ``rsv`` is the three reserved bits (4 is RSV1)."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0 if mask is None else 0x80
    size = len(payload)
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 1 << 16:
        head = bytes([first, bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack("!Q", size)
    return head + (payload if mask is None else mask + masked(payload, mask))


def close_frame(code: int | None = None, reason: str | bytes = "") -> bytes:
    reason = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def deflated(payload: bytes, window_bits: int = 15) -> bytes:
    """A message as one permessage-deflate payload without context (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-window_bits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\x00\x00\xff\xff")
    return data[:-4]


def inflated(payload: bytes, window_bits: int = 15) -> bytes:
    return zlib.decompressobj(wbits=-window_bits).decompress(payload + b"\x00\x00\xff\xff")


def handshake(
    target: str = "/",
    *headers: str,
    host: str | None = "localhost",
    upgrade: str | None = "websocket",
    connection: str | None = "Upgrade",
    key: str | None = KEY,
    version: str | None = "13",
    method: str = "GET",
    http: str = "1.1",
) -> bytes:
    """An opening handshake; ``None`` leaves a header out."""
    lines = [f"{method} {target} HTTP/{http}"]
    for name, value in (
        ("Host", host),
        ("Upgrade", upgrade),
        ("Connection", connection),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", version),
    ):
        if value is not None:
            lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


class WebSocketClient(RawClient):
    """After ``open`` the connection is a WebSocket; every server frame is judged strictly."""

    upgraded: Response

    def open(self, target: str = "/", *headers: str, early: bytes = b"", **options: Any) -> WebSocketClient:
        """Shake hands; ``early`` bytes follow in the same segment."""
        self.send(handshake(target, *headers, **options) + early)
        self.upgraded = self.response()
        assert self.upgraded.status == 101, (self.upgraded.status, self.upgraded.headers)
        assert self.upgraded.one(b"upgrade").lower() == b"websocket"
        assert self.upgraded.one(b"connection").lower() == b"upgrade"
        assert self.upgraded.one(b"sec-websocket-accept") == ACCEPT
        return self

    @property
    def extension(self) -> str | None:
        values = self.upgraded.all(b"sec-websocket-extensions")
        assert len(values) <= 1
        return values[0].decode() if values else None

    def text(self, message: str) -> None:
        self.send(frame(TEXT, message.encode()))

    def frame(self) -> Frame:
        """The next frame: unmasked, shortest length form, control frames whole and short (section 5)."""
        first, second = self.exactly(2)
        if second & 0x80:
            raise Malformed("a server frame is masked")
        if first & 0x30:
            raise Malformed("RSV2 or RSV3 is set")
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self.exactly(2))[0]
            if size < 126:
                raise Malformed("length is not in its shortest form")
        elif size == 127:
            size = struct.unpack("!Q", self.exactly(8))[0]
            if size < 1 << 16:
                raise Malformed("length is not in its shortest form")
        opcode = first & 0x0F
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise Malformed(f"reserved opcode {opcode}")
        fin, rsv1 = bool(first & 0x80), bool(first & 0x40)
        if opcode & 0x8 and (size > 125 or not fin or rsv1):
            raise Malformed("a control frame is long, fragmented or compressed")
        if opcode == CLOSE and size == 1:
            raise Malformed("a close frame of one byte")
        return Frame(opcode, self.exactly(size), fin, rsv1)

    def message(self) -> str | bytes:
        """The next data message, put together and inflated; any other frame is an error."""
        got = self.frame()
        assert got.opcode in (TEXT, BINARY), got
        opcode, rsv1, payload = got.opcode, got.rsv1, got.payload
        while not got.fin:
            got = self.frame()
            assert got.opcode == CONTINUATION, got
            payload += got.payload
        if rsv1:
            assert self.extension, "compressed without the extension"
            payload = inflated(payload)
        return payload.decode() if opcode == TEXT else payload

    def closing(self, code: int | None, reason: str | None = None) -> None:
        """Assert a close frame with that code next, answer it, and that the connection ends behind it."""
        got = self.frame()
        assert got.opcode == CLOSE, got
        assert got.code == code, (got.code, got.reason)
        if reason is not None:
            assert got.reason == reason
        try:
            self.send(frame(CLOSE, got.payload))
        except OSError:
            return
        self.closed()
