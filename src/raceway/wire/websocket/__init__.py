"""WebSocket without I/O: judge the handshake, read frames, build frames (RFC 6455, RFC 7692)."""

from raceway.wire.websocket.deflate import Deflate
from raceway.wire.websocket.encoder import MIN_COMPRESSED_BYTES, encode, encode_data
from raceway.wire.websocket.engine import Engine
from raceway.wire.websocket.frames import (
    binary_frame,
    close_frame,
    cut_reason,
    frame,
    ping_frame,
    pong_frame,
    text_frame,
)
from raceway.wire.websocket.handshake import Refusal, Upgrade, read_upgrade
from raceway.wire.websocket.incoming import Close, Incoming, Ping, Pong, Violation

__all__ = [
    "MIN_COMPRESSED_BYTES",
    "Close",
    "Deflate",
    "Engine",
    "Incoming",
    "Ping",
    "Pong",
    "Refusal",
    "Upgrade",
    "Violation",
    "binary_frame",
    "close_frame",
    "cut_reason",
    "encode",
    "encode_data",
    "frame",
    "ping_frame",
    "pong_frame",
    "read_upgrade",
    "text_frame",
]
