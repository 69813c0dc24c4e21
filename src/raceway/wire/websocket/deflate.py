"""permessage-deflate without context takeover, both ways (RFC 7692).

No compressor and no inflater outlives its message, so an idle connection holds none, and one compressed
message serves every client of the same window.
"""

from __future__ import annotations

import re
import zlib

from raceway.close_codes import INVALID_DATA, MESSAGE_TOO_BIG
from raceway.prepared import PLAIN, Form
from raceway.wire.websocket.incoming import Broken

MAX_WINDOW_BITS = 15

# What a sender took off the end (section 7.2.1), and an empty final block behind it: zlib then says by
# ``eof`` whether the message was whole.
_END = b"\x00\x00\xff\xff\x03\x00"

# A message may hold several final blocks (section 7.2.1), each of which needs a new inflater: enough for any
# encoder, too few to be worth an attack.
_MAX_STREAMS = 64

_LEVEL = 3


class Deflate:
    """What was agreed with one client; one object per window, shared by all connections.

    ``form`` is how messages are sent to it, ``answer`` the value of our ``Sec-WebSocket-Extensions``.
    """

    __slots__ = ("answer", "form")

    def __init__(self, server_max_window_bits: int | None) -> None:
        bits = server_max_window_bits or MAX_WINDOW_BITS
        # zlib cannot make a raw stream with a window of 8 bits; plain frames are always allowed (section 6).
        self.form: Form = bits if bits >= 9 else PLAIN
        self.answer = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        if server_max_window_bits is not None:
            self.answer += b"; server_max_window_bits=%d" % server_max_window_bits

    def __repr__(self) -> str:
        return f"<Deflate {self.answer.decode()}>"


_WINDOWS = {str(bits): bits for bits in range(8, 16)}
_AGREED = {bits: Deflate(bits) for bits in (None, *_WINDOWS.values())}

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 6455 section 9.1: a quoted value must be a token too once it is unquoted.
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?')
_EXTENSION = re.compile(rf"[ \t]*({_TOKEN})")
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*|$)")


def negotiate(offers: str) -> Deflate | None:
    """Choose the first offer of a ``Sec-WebSocket-Extensions`` value that can be agreed to, if any.

    An offer with an unknown, repeated or invalid parameter is declined (section 7.1); so is what follows an
    error of syntax. The handshake never fails because of it.
    """
    at = 0
    while at < len(offers):
        if separator := _SEPARATOR.match(offers, at):
            at = separator.end()
            continue
        name = _EXTENSION.match(offers, at)
        if name is None:
            return None
        at = name.end()
        parameters: list[tuple[str, str | None]] = []
        while parameter := _PARAMETER.match(offers, at):
            at = parameter.end()
            parameters.append((parameter[1].lower(), parameter[2] or parameter[3]))
        if _SEPARATOR.match(offers, at) is None:
            return None
        if name[1].lower() == "permessage-deflate" and (agreed := _agree(parameters)):
            return agreed
    return None


def _agree(parameters: list[tuple[str, str | None]]) -> Deflate | None:
    names = dict(parameters)
    if len(names) < len(parameters):
        return None
    for name, value in parameters:
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            valid = value is None
        elif name == "server_max_window_bits":
            valid = value in _WINDOWS
        elif name == "client_max_window_bits":
            # We inflate with the largest window, so the client may keep the one it likes.
            valid = value is None or value in _WINDOWS
        else:
            valid = False
        if not valid:
            return None
    wanted = names.get("server_max_window_bits")
    return _AGREED[None if wanted is None else _WINDOWS[wanted]]


def compress(payload: bytes, window_bits: int) -> bytes:
    """Compress one message (section 7.2.1) so that an inflater with ``window_bits`` (9 to 15) can read it."""
    # A window wider than the message only costs the time to clear it; memory level follows the window.
    bits = min(window_bits, max(9, len(payload).bit_length()))
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits, min(bits - 6, 8))
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(payload: bytes, max_bytes: int) -> bytes:
    """Inflate one whole message; raises ``Broken``: 1009 above ``max_bytes``, 1007 if it is damaged."""
    if not payload:  # It should be one octet 0 (section 7.2.3.6), but its meaning is not in doubt.
        return b""
    stream = zlib.decompressobj(-MAX_WINDOW_BITS)
    try:
        made = stream.decompress(payload + _END, max_bytes + 1)
    except zlib.error:
        raise Broken(INVALID_DATA, "compressed message is damaged") from None
    if len(made) > max_bytes:
        raise Broken(MESSAGE_TOO_BIG, "message is too big")
    if stream.eof and not stream.unused_data:
        return made
    inflater = Inflater(max_bytes)  # several streams, or not the whole message
    return inflater.receive(payload) + inflater.finish()


class Inflater:
    """Inflate one message in pieces and never make more than one byte above its limit."""

    __slots__ = ("_empty", "_room_bytes", "_stream", "_streams_left")

    def __init__(self, max_bytes: int) -> None:
        self._stream = zlib.decompressobj(-MAX_WINDOW_BITS)
        self._streams_left = _MAX_STREAMS
        self._room_bytes = max_bytes
        self._empty = True

    def receive(self, data: bytes) -> bytes:
        """Return what the next piece of the message inflates to."""
        made = b""
        while data:
            self._empty = False
            if self._stream.eof:
                self._begin_stream()
            made += self._inflate(data)
            data = self._stream.unused_data
        return made

    def finish(self) -> bytes:
        """Return the rest of the message, now that it is complete."""
        if self._empty:  # as in inflate()
            return b""
        made = self.receive(_END)
        if not self._stream.eof:
            raise Broken(INVALID_DATA, "compressed message is cut short")
        return made

    def _begin_stream(self) -> None:
        self._streams_left -= 1
        if not self._streams_left:
            raise Broken(INVALID_DATA, "compressed message has too many final blocks")
        self._stream = zlib.decompressobj(-MAX_WINDOW_BITS)

    def _inflate(self, data: bytes) -> bytes:
        try:
            made = self._stream.decompress(data, self._room_bytes + 1)
        except zlib.error:
            raise Broken(INVALID_DATA, "compressed message is damaged") from None
        self._room_bytes -= len(made)
        if self._room_bytes < 0:
            raise Broken(MESSAGE_TOO_BIG, "message is too big")
        return made
