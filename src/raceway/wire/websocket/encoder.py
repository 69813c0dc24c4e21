"""Make the frame of a message in the form that its clients agreed to."""

from __future__ import annotations

from raceway.prepared import PLAIN, Form, PreparedMessage
from raceway.wire.websocket.deflate import compress
from raceway.wire.websocket.frames import FIN_BINARY, FIN_TEXT, RSV1, binary_frame, frame, text_frame

MIN_COMPRESSED_BYTES = 256
"""Below this a message mostly grows when it is compressed, and the time is lost."""


def encode(message: PreparedMessage, form: Form) -> bytes:
    """Make one form of ``message`` for ``PreparedMessage.form``: ``PLAIN``, or a deflate window of 9 to 15.

    Where compressing does not pay, a deflate form is the very object that the plain form is.
    """
    if form != PLAIN:
        compressed = _compressed_frame(message.payload, message.is_text, form)
        return message.form(PLAIN, encode) if compressed is None else compressed
    return text_frame(message.payload) if message.is_text else binary_frame(message.payload)


def encode_data(payload: bytes, is_text: bool, form: Form) -> bytes:
    """Make the frame of one message that goes to one client only; ``payload`` is UTF-8 if ``is_text``."""
    if form != PLAIN:
        compressed = _compressed_frame(payload, is_text, form)
        if compressed is not None:
            return compressed
    return text_frame(payload) if is_text else binary_frame(payload)


def _compressed_frame(payload: bytes, is_text: bool, form: Form) -> bytes | None:
    if len(payload) < MIN_COMPRESSED_BYTES:
        return None
    compressed = compress(payload, form)
    if len(compressed) >= len(payload):
        return None
    return frame((FIN_TEXT if is_text else FIN_BINARY) | RSV1, compressed)
