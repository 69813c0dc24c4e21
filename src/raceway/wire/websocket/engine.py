"""Turn the bytes of a client into messages: a short way for whole frames, ``Reader`` for all others.

See docs/design/websocket-engine.md.
"""

from __future__ import annotations

from raceway.wire.websocket.deflate import Deflate, inflate
from raceway.wire.websocket.incoming import Broken, Incoming, Violation
from raceway.wire.websocket.masking import apply_mask
from raceway.wire.websocket.reader import Reader

# Stands for every connection that has ended.
_OVER = Reader(0, False)
_OVER.closed = True


class Engine:
    """Read what one client sends after the handshake (RFC 6455, RFC 7692). Between messages it holds nothing.

    ``max_message_bytes`` bounds a message, inflated; ``deflate`` is what ``read_upgrade`` agreed to.
    """

    __slots__ = ("_reader", "deflate", "max_message_bytes")

    def __init__(self, max_message_bytes: int, deflate: Deflate | None) -> None:
        self.max_message_bytes = max_message_bytes
        self.deflate = deflate
        self._reader: Reader | None = None

    @property
    def resting(self) -> bool:
        """The client is between two messages."""
        return self._reader is None

    def receive_data(self, data: bytes) -> list[Incoming]:
        """Return what ``data`` completes, in order; never raises.

        After a ``Close`` or a ``Violation``, always the last item, every further call returns nothing.
        """
        items: list[Incoming] = []
        if self._reader is not None:
            if self._reader.closed:
                return items
            data = self._reader.take_kept() + data
        at = 0
        try:
            while True:
                if self._reader is None:
                    # The short way: whole, masked data frames that are messages in themselves.
                    end = len(data)
                    limit = self.max_message_bytes
                    while end - at >= 6:
                        first = data[at]
                        length = data[at + 1] - 128
                        if length < 126:
                            if length < 0:
                                break
                            start = at + 6
                        elif length == 126:
                            start = at + 8
                            length = data[at + 2] << 8 | data[at + 3]
                            if length < 126:
                                break
                        else:
                            start = at + 14
                            length = int.from_bytes(data[at + 2 : at + 10], "big")
                            if length < 65536:
                                break
                        stop = start + length
                        if stop > end or length > limit:
                            break
                        if first == 0x81:
                            items.append(apply_mask(data[start:stop], data[start - 4 : start]).decode())
                        elif first == 0x82:
                            items.append(apply_mask(data[start:stop], data[start - 4 : start]))
                        elif (first == 0xC1 or first == 0xC2) and self.deflate is not None:
                            payload = inflate(apply_mask(data[start:stop], data[start - 4 : start]), limit)
                            items.append(payload.decode() if first == 0xC1 else payload)
                        else:
                            break
                        at = stop
                    if at == end:
                        return items
                    self._reader = Reader(limit, self.deflate is not None)
                reader = self._reader
                at = reader.receive(data, at, items)
                if reader.closed:
                    self._reader = _OVER
                    return items
                if reader.resting:
                    self._reader = None
                if at == len(data):
                    return items
        except Broken as broken:
            items.append(Violation(broken.code, broken.reason))
        except UnicodeDecodeError:
            items.append(Violation(1007, "text is not UTF-8"))
        self._reader = _OVER
        return items
