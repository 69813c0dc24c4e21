"""Client frames, right ones and wrong ones, and a way to feed them to an engine."""

from __future__ import annotations

from collections.abc import Iterable

from raceway.wire.websocket import Close, Deflate, Engine, Incoming, Ping, Pong, Violation
from raceway.wire.websocket.deflate import negotiate

MASK = b"\x37\xfa\x21\x3d"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x00, 0x01, 0x02, 0x08, 0x09, 0x0A
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10

DEFLATE = negotiate("permessage-deflate")


def xor(payload: bytes, mask: bytes) -> bytes:
    return bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))


def client_frame(
    first_byte: int,
    payload: bytes = b"",
    *,
    mask: bytes | None = MASK,
    length: int | None = None,
    length_octets: int | None = None,
) -> bytes:
    """One frame; ``length`` may lie and ``length_octets`` (0, 2, 8) may be too many."""
    length = len(payload) if length is None else length
    if length_octets is None:
        length_octets = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[length_octets]
    masked = 0 if mask is None else 0x80
    head = bytes((first_byte, masked | short)) + (
        length.to_bytes(length_octets, "big") if length_octets else b""
    )
    return head + (payload if mask is None else mask + xor(payload, mask))


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


def plain(item: Incoming) -> object:
    """A form that compares by value."""
    match item:
        case Ping() | Pong():
            return type(item).__name__, item.payload
        case Close() | Violation():
            return type(item).__name__, item.code, item.reason
    return item


def read(
    chunks: Iterable[bytes], *, max_bytes: int = 1 << 20, deflate: Deflate | None = None
) -> list[object]:
    """Everything that a fresh engine says to ``chunks``."""
    engine = Engine(max_bytes, deflate)
    items = []
    for chunk in chunks:
        items += engine.receive_data(chunk)
        while engine.has_more:
            items += engine.receive_data(b"")
    return [plain(item) for item in items]


def read_codes(
    chunks: Iterable[bytes], *, max_bytes: int = 1 << 20, deflate: Deflate | None = None
) -> list[object]:
    """The same with only the code of a violation: its words are nobody's interface."""
    items = read(chunks, max_bytes=max_bytes, deflate=deflate)
    return [item[:2] if isinstance(item, tuple) and item[0] == "Violation" else item for item in items]
