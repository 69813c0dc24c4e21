"""Turn the bytes of a client into messages: a short way for whole frames, ``Reader`` for all others.

See docs/design/websocket-engine.md.
"""

from __future__ import annotations

from raceway.close_codes import INVALID_DATA
from raceway.wire.limits import INFLATED_BYTES
from raceway.wire.websocket.deflate import Deflate, inflate
from raceway.wire.websocket.frames import FIN_BINARY, FIN_TEXT, RSV1
from raceway.wire.websocket.incoming import Broken, Incoming, Violation
from raceway.wire.websocket.masking import apply_mask
from raceway.wire.websocket.reader import TEXT, Reader

_WHOLE = frozenset((FIN_TEXT, FIN_BINARY))
_WHOLE_OR_COMPRESSED = _WHOLE | {FIN_TEXT | RSV1, FIN_BINARY | RSV1}

# Stands for every connection that has ended.
_OVER = Reader(0, False)
_OVER.closed = True


class Engine:
    """Read what one client sends after the handshake (RFC 6455, RFC 7692). Between messages it holds nothing.

    ``max_message_bytes`` bounds a message, inflated; ``deflate`` is what ``read_upgrade`` agreed to.
    """

    __slots__ = ("_reader", "_room_bytes", "deflate", "max_message_bytes")

    def __init__(self, max_message_bytes: int, deflate: Deflate | None) -> None:
        self.max_message_bytes = max_message_bytes
        self.deflate = deflate
        self._room_bytes = INFLATED_BYTES
        self._reader: Reader | None = None

    @property
    def resting(self) -> bool:
        """The client is between two messages, and all that came has been read."""
        return self._reader is None

    @property
    def has_more(self) -> bool:
        """Some of what came has not been read: call ``receive_data(b"")`` once the messages are dealt with."""
        return self._reader is not None and self._reader.has_more

    def receive_data(self, data: bytes) -> list[Incoming]:
        """Return what ``data`` completes, in order; never raises.

        After a ``Close`` or a ``Violation``, always the last item, every further call returns nothing.
        Look at ``has_more`` afterwards if ``deflate`` is not ``None``.
        """
        items: list[Incoming] = []
        at = 0
        reader = self._reader
        try:
            if reader is None:
                size = len(data)
                if (
                    6 <= size < 132
                    and data[0] == FIN_TEXT
                    and data[1] == size + 122 <= self.max_message_bytes + 128
                ):
                    # One small text, whole and alone: what most reads are.
                    return [apply_mask(data[6:], data[2:6]).decode()]
                at = self._read_whole(data, 0, items)
            elif reader.closed:
                return items
            else:
                data = reader.take_kept() + data
            while at < len(data):
                if reader is None:
                    reader = self._reader = Reader(self.max_message_bytes, self.deflate is not None)
                if self._room_bytes <= 0:
                    reader.keep(data[at:])
                    break
                at = reader.receive(data, at, items)
                if reader.closed:
                    self._reader = _OVER
                    return items
                if reader.resting:
                    self._room_bytes -= reader.inflated_bytes
                    reader = self._reader = None
                    at = self._read_whole(data, at, items)
            self._room_bytes = INFLATED_BYTES
        except Broken as broken:
            items.append(Violation(broken.code, broken.reason))
            self._reader = _OVER
        except UnicodeDecodeError:
            items.append(Violation(INVALID_DATA, "text is not UTF-8"))
            self._reader = _OVER
        return items

    def _read_whole(self, data: bytes, at: int, items: list[Incoming]) -> int:
        """The short way: read messages of one whole frame until there is something else; say where it is."""
        end = len(data)
        limit = self.max_message_bytes
        readable = _WHOLE if self.deflate is None else _WHOLE_OR_COMPRESSED
        while end - at >= 6:
            first = data[at]
            if first not in readable:
                return at
            length = data[at + 1] - 128
            if length < 126:
                if length < 0:
                    return at
                start = at + 6
            elif length == 126:
                length = data[at + 2] << 8 | data[at + 3]
                if length < 126:
                    return at
                start = at + 8
            else:
                length = int.from_bytes(data[at + 2 : at + 10], "big")
                if length < 65536:
                    return at
                start = at + 14
            stop = start + length
            if stop > end or length > limit:
                return at
            # A view costs more than the copy of a small slice, and less than that of a large one.
            masked = data[start:stop] if length < 65536 else memoryview(data)[start:stop]
            payload = apply_mask(masked, data[start - 4 : start])
            if first & RSV1:
                if self._room_bytes <= 0:
                    return at
                payload = inflate(payload, limit)
                self._room_bytes -= len(payload)
            items.append(payload.decode() if first & TEXT else payload)
            at = stop
        return at
