"""Build the frames that a server sends: never masked, never fragmented (RFC 6455 section 5.2)."""

from __future__ import annotations

from struct import Struct

from raceway.close_codes import require_close_code

FIN_TEXT = 0x81
FIN_BINARY = 0x82
FIN_CLOSE = 0x88
FIN_PING = 0x89
FIN_PONG = 0x8A
RSV1 = 0x40

MAX_CONTROL_BYTES = 125

# Most messages are small: their two-byte heads are made once.
_TEXT_HEADS = tuple(bytes((FIN_TEXT, size)) for size in range(126))
_BINARY_HEADS = tuple(bytes((FIN_BINARY, size)) for size in range(126))
_head_16 = Struct("!BBH").pack
_head_64 = Struct("!BBQ").pack


def text_frame(data: str | bytes) -> bytes:
    """Frame a text message; ``bytes`` must be UTF-8 already."""
    payload = data.encode() if isinstance(data, str) else data
    size = len(payload)
    return (_TEXT_HEADS[size] if size < 126 else _long_head(FIN_TEXT, size)) + payload


def binary_frame(data: bytes) -> bytes:
    """Frame a binary message."""
    size = len(data)
    return (_BINARY_HEADS[size] if size < 126 else _long_head(FIN_BINARY, size)) + data


def frame(first_byte: int, payload: bytes) -> bytes:
    """Frame ``payload`` under any first byte: FIN, RSV bits and opcode."""
    size = len(payload)
    return (bytes((first_byte, size)) if size < 126 else _long_head(first_byte, size)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    """Frame a ping of at most 125 bytes; more is a ``ValueError``."""
    return _control_frame(FIN_PING, payload)


def pong_frame(payload: bytes = b"") -> bytes:
    """Frame a pong of at most 125 bytes; more is a ``ValueError``."""
    return _control_frame(FIN_PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """Frame a close; ``reason`` is cut to 123 bytes of whole characters.

    Raises ``InvalidMessage`` for a code that stays off the wire.
    """
    require_close_code(code)
    return _control_frame(FIN_CLOSE, code.to_bytes(2, "big") + cut_reason(reason).encode())


def cut_reason(reason: str) -> str:
    """As much of the ``reason`` of a close as its frame has room for."""
    return reason.encode(errors="replace")[: MAX_CONTROL_BYTES - 2].decode(errors="ignore")


def _control_frame(first_byte: int, payload: bytes) -> bytes:
    if len(payload) > MAX_CONTROL_BYTES:
        raise ValueError(f"a control frame carries at most {MAX_CONTROL_BYTES} bytes, not {len(payload)}")
    return bytes((first_byte, len(payload))) + payload


def _long_head(first_byte: int, size: int) -> bytes:
    if size < 65536:
        return _head_16(first_byte, 126, size)
    return _head_64(first_byte, 127, size)
