"""Read frames piece by piece, by every rule of RFC 6455, for an engine whose short way does not fit."""

from __future__ import annotations

from codecs import utf_8_decode

from raceway.close_codes import INVALID_DATA, MESSAGE_TOO_BIG, NO_CODE, PROTOCOL_ERROR, is_close_code
from raceway.wire.websocket.deflate import Inflater
from raceway.wire.websocket.incoming import Broken, Close, Incoming, Ping, Pong
from raceway.wire.websocket.masking import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))

# The first bytes of frames that the engine itself reads fastest.
_WHOLE = frozenset((0x81, 0x82, 0xC1, 0xC2))


class Reader:
    """Follow one client's frames, from the first that is cut, fragmented or not data, until it rests again.

    What arrives is unmasked, inflated and checked at once: a fault shows at its first octet (section 8.1), a
    message in small pieces costs no more than in large ones, and what is held is the message so far.

    ``closed``: a close frame was read; pass nothing more. ``max_bytes`` bounds a message, inflated.
    ``inflated_bytes``: the size of the compressed message at which ``receive`` stopped, if it was one.
    ``has_more``: whole frames are kept.
    """

    __slots__ = (
        "_control",
        "_cut",
        "_fin",
        "_inflater",
        "_kept",
        "_left_bytes",
        "_mask",
        "_max_bytes",
        "_may_deflate",
        "_message",
        "_opcode",
        "_text",
        "closed",
        "has_more",
        "inflated_bytes",
    )

    def __init__(self, max_bytes: int, may_deflate: bool) -> None:
        self._max_bytes = max_bytes
        self._may_deflate = may_deflate
        self.closed = False
        self.has_more = False
        self.inflated_bytes = 0
        self._kept = b""  # the beginning of a frame head whose end has not arrived; frames if has_more
        # The frame whose payload is being read, if any.
        self._opcode: int | None = None
        self._fin = False
        self._mask = b""
        self._left_bytes = 0
        self._control = b""
        # The message being read, if any.
        self._message: bytearray | None = None
        self._text = False
        self._cut = b""  # the beginning of a character whose end has not arrived
        self._inflater: Inflater | None = None

    @property
    def resting(self) -> bool:
        """Neither a frame nor a message has begun."""
        return self._message is None and self._opcode is None and not self._kept

    def take_kept(self) -> bytes:
        """Give back what was kept: it goes in front of what follows."""
        kept, self._kept = self._kept, b""
        self.has_more = False
        return kept

    def keep(self, frames: bytes) -> None:
        """Keep frames for which there is no room now."""
        self._kept = frames
        self.has_more = True

    def receive(self, data: bytes, at: int, items: list[Incoming]) -> int:
        """Read ``data`` from ``at`` until at rest or out of data; append to ``items``; say where it stopped.

        Raises ``Broken``, or ``UnicodeDecodeError`` for a text that is not UTF-8.
        """
        while True:
            if self._opcode is None:
                start = self._read_head(data, at)
                if not start:
                    self._kept = data[at:]
                    return len(data)
                at = start
            stop = min(len(data), at + self._left_bytes)
            if stop > at:
                self._read_payload(data[at:stop] if stop - at < 65536 else memoryview(data)[at:stop])
                at = stop
            if self._left_bytes:
                return at
            self._end_frame(items)
            if self.closed:
                return at
            if self._message is None and (self.inflated_bytes or at == len(data) or data[at] in _WHOLE):
                return at

    def _read_head(self, data: bytes, at: int) -> int:
        """Begin the frame at ``at`` and say where its payload starts; 0 if its head has not arrived whole."""
        size = len(data) - at
        if size < 1:
            return 0
        first = data[at]
        opcode = first & 0x0F
        self._check_first(first, opcode)
        if size < 2:
            return 0
        second = data[at + 1]
        if second < 0x80:
            raise Broken(PROTOCOL_ERROR, "frame is not masked")
        length = second & 0x7F
        if opcode >= CLOSE and length > 125:
            raise Broken(PROTOCOL_ERROR, "control frame is too long")
        start = at + 2
        if length == 126:
            start = at + 4
            if len(data) < start:
                return 0
            length = int.from_bytes(data[at + 2 : start], "big")
            if length < 126:
                raise Broken(PROTOCOL_ERROR, "length is not in its shortest form")
        elif length == 127:
            start = at + 10
            if len(data) < start:
                return 0
            length = int.from_bytes(data[at + 2 : start], "big")
            if length < 65536 or length >> 63:
                raise Broken(PROTOCOL_ERROR, "length is not in its shortest form, or negative")
        if opcode < CLOSE:
            self._check_size(first, length)
        if len(data) < start + 4:
            return 0
        self._mask = data[start : start + 4]
        self._left_bytes = length
        self._opcode = opcode
        self._fin = first >= 0x80
        if opcode in (TEXT, BINARY):
            self._message = bytearray()
            self._text = opcode == TEXT
            self._inflater = Inflater(self._max_bytes) if first & 0x40 else None
        return start + 4

    def _check_first(self, first: int, opcode: int) -> None:
        if opcode not in _OPCODES:
            raise Broken(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if opcode >= CLOSE:
            if first < 0x80:
                raise Broken(PROTOCOL_ERROR, "control frame is fragmented")
        elif opcode == CONTINUATION:
            if self._message is None:
                raise Broken(PROTOCOL_ERROR, "continuation of no message")
        elif self._message is not None:
            raise Broken(PROTOCOL_ERROR, "new message inside a fragmented one")
        # RFC 7692 section 6: RSV1 belongs to the first frame of a data message.
        if first & 0x30 or (first & 0x40 and not (self._may_deflate and opcode in (TEXT, BINARY))):
            raise Broken(PROTOCOL_ERROR, "reserved bit is set")

    def _check_size(self, first: int, length: int) -> None:
        """Refuse a message as soon as a head says that it is too big; a compressed one shows it later."""
        if self._message is None:
            compressed, size = bool(first & 0x40), 0
        else:
            compressed, size = self._inflater is not None, len(self._message)
        if not compressed and size + length > self._max_bytes:
            raise Broken(MESSAGE_TOO_BIG, "message is too big")

    def _read_payload(self, masked: bytes | memoryview) -> None:
        piece = apply_mask(masked, self._mask)
        self._left_bytes -= len(piece)
        if turn := len(piece) & 3:
            self._mask = self._mask[turn:] + self._mask[:turn]
        if self._message is None or self._opcode not in (CONTINUATION, TEXT, BINARY):
            self._control += piece
            return
        if self._inflater is not None:
            piece = self._inflater.receive(piece)
        self._message += piece
        if self._text and (self._left_bytes or not self._fin):
            self._check_text(piece)

    def _check_text(self, piece: bytes) -> None:
        if self._cut:
            piece = self._cut + piece
        elif piece.isascii():
            return
        self._cut = piece[utf_8_decode(piece, "strict", False)[1] :]
        # Python waits for the third octet of a surrogate, for the sake of its "surrogatepass".
        if self._cut >= b"\xed\xa0" and self._cut < b"\xee":
            raise Broken(INVALID_DATA, "text is not UTF-8")

    def _end_frame(self, items: list[Incoming]) -> None:
        opcode, self._opcode = self._opcode, None
        if opcode in (CONTINUATION, TEXT, BINARY):
            if self._fin:
                items.append(self._end_message())
            return
        payload, self._control = self._control, b""
        if opcode == PING:
            items.append(Ping(payload))
        elif opcode == PONG:
            items.append(Pong(payload))
        else:
            items.append(read_close(payload))
            self.closed = True

    def _end_message(self) -> str | bytes:
        message, self._message = self._message, None
        assert message is not None
        if self._inflater is not None:
            message += self._inflater.finish()
            self._inflater = None
            self.inflated_bytes = len(message)
        self._cut = b""
        return message.decode() if self._text else bytes(message)


def read_close(payload: bytes) -> Close:
    """Read a close frame's payload (RFC 6455 section 5.5.1); raises ``Broken`` or ``UnicodeDecodeError``."""
    if not payload:
        return Close(NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not is_close_code(code):
        raise Broken(PROTOCOL_ERROR, "close frame has no valid code")
    return Close(code, payload[2:].decode())
