"""Cut the bytes of one connection into requests, and bound what a client may make us hold."""

from __future__ import annotations

from raceway.wire.events import Body, End, HttpEvent, Request, Violation
from raceway.wire.http1.head import read_head
from raceway.wire.http1.rules import CHUNKED, INVALID_BYTES, Broken, check_trailers, chunk_size, request_line
from raceway.wire.limits import Limits

# Where in the stream the next byte stands. Plain integers: they are compared several times per request.
_HEAD, _LENGTH, _CHUNK_LINE, _CHUNK_DATA, _CHUNK_END, _TRAILERS, _STOPPED, _CLOSED = range(8)

_END = End()

_EMPTY_LINES_MAX = 4
"""Empty lines that are skipped before a request line (RFC 9112 section 2.2 asks for one)."""


_REPEATED_MAX_BYTES = 2048
"""A longer head is not kept for the case that it comes again."""


class Http1Reader:
    """Read the requests of one connection from its bytes (RFC 9112).

    Feed it what arrives; it answers with events. Memory is bounded by ``limits``: at most one head, chunk
    line or trailer section is held, body bytes never. The events do not depend on how the bytes are split,
    except that all body bytes of one read are one ``Body``. After a ``Violation``, or a request that is the
    last of its connection, everything that follows is ignored.

    It stops (``stopped``) behind a request that asks for an upgrade, and behind ``limits.pipelined_requests``
    requests in one read; what follows is kept unread. Then call ``resume`` to go on with HTTP, or
    ``take_rest`` to hand the connection to another protocol, and stop reading from the socket meanwhile.
    """

    __slots__ = (
        "_empty_lines",
        "_held",
        "_keep_alive",
        "_last",
        "_last_head",
        "_left",
        "_limits",
        "_seen",
        "_state",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = _HEAD
        self._held = b""  # an incomplete line or section, or what arrived while stopped
        self._seen = 0  # how many bytes of what was held have been checked
        self._left = 0  # body bytes still to come, of the message or of the chunk
        self._empty_lines = 0
        self._keep_alive = True
        self._last_head: bytes | None = (
            None  # of a request without a body, behind which the connection stays open
        )
        self._last: Request | None = None  # what it says, once it has come twice

    @property
    def idle(self) -> bool:
        """Nothing of a next request has arrived, and one may come."""
        return self._state == _HEAD and not self._held

    @property
    def stopped(self) -> bool:
        """Waiting for ``resume`` or ``take_rest``."""
        return self._state == _STOPPED

    def receive_data(self, data: bytes) -> list[HttpEvent]:
        """Take what arrived, return what it means. Never raises for what a client sends."""
        if data == self._last_head and self._state == _HEAD and not self._held:
            return [self._same_again(data)]
        events: list[HttpEvent] = []
        if self._state >= _STOPPED:
            if self._state == _STOPPED:
                self._held += data
            return events
        if self._held:
            self._seen = len(self._held)
            data = self._held + data
            self._held = b""
        position = requests = 0
        size = len(data)
        try:
            while position < size:
                state = self._state
                if state == _HEAD:
                    if requests == self._limits.pipelined_requests:
                        state = self._state = _STOPPED
                    else:
                        position = self._read_head(data, position, events)
                        requests += 1
                        continue
                if state == _LENGTH:
                    position = self._read_length(data, position, events)
                elif state < _STOPPED:
                    position = self._read_chunked(data, position, events)
                else:
                    if state == _STOPPED:
                        self._held = data[position:]
                    break
        except Broken as broken:
            events.append(Violation(broken.status, broken.reason))
            self._close()
        return events

    def receive_eof(self) -> list[HttpEvent]:
        """The client will send no more: a ``Violation`` if that cuts a message; nothing yet while stopped."""
        if self._state >= _STOPPED:
            return []
        cut = self._state != _HEAD or self._held not in (b"", b"\r")
        self._close()
        return [Violation(400, "The connection ended in the middle of a request.")] if cut else []

    def resume(self) -> list[HttpEvent]:
        """Go on with HTTP after a stop: what was held is read now."""
        if self._state != _STOPPED:
            return []
        rest = self._held
        self._held = b""
        self._state = _HEAD if self._keep_alive else _CLOSED
        return self.receive_data(rest)

    def take_rest(self) -> bytes:
        """End HTTP on this connection; return the bytes behind the request that asked for the upgrade."""
        rest = self._held if self._state == _STOPPED else b""
        self._close()
        return rest

    def _close(self) -> None:
        self._state = _CLOSED
        self._held = b""

    def _hold(self, data: bytes, position: int) -> int:
        """Keep an incomplete line or section until more arrives."""
        self._held = data[position:]
        return len(data)

    def _read_head(self, data: bytes, position: int, events: list[HttpEvent]) -> int:
        if data[position] <= 13:
            position = self._skip_empty_lines(data, position)
            if position == len(data):
                return position
        seen = self._seen
        end = data.find(b"\r\n\r\n", position + seen - 3 if seen > 3 else position)
        if end < 0:
            self._check_incomplete_head(data, position)
            return self._hold(data, position)
        self._seen = 0
        self._empty_lines = 0
        line_end = data.find(b"\r\n", position)
        limits = self._limits
        if line_end - position > limits.request_line_bytes:
            raise Broken(414, "The request line is too long.")
        if end - line_end > limits.header_bytes:
            raise Broken(431, "The header section is too large.")
        end += 4
        head = data[position:end]
        field_count = head.count(b"\n") - 2  # llhttp refuses a bare LF
        if field_count > limits.header_count:
            raise Broken(431, "Too many header fields.")
        request, length = read_head(head, line_end - position, field_count)
        events.append(request)
        self._keep_alive = request.keep_alive
        if length > 0:
            self._left = length
            self._state = _LENGTH
        elif length == CHUNKED:
            self._state = _CHUNK_LINE
        elif request.upgrade is not None:
            self._state = _STOPPED
        elif not request.keep_alive:
            self._state = _CLOSED
        elif end - position <= _REPEATED_MAX_BYTES:
            self._last_head = head
            self._last = None
        return end

    def _same_again(self, head: bytes) -> Request:
        """The last request has come once more, to the byte: what polls and checks do. It need not be read again."""
        last = self._last
        if last is None:
            self._last, _ = read_head(head, head.find(b"\r\n"), head.count(b"\r\n") - 2)
            last = self._last
        return last.again()

    def _skip_empty_lines(self, data: bytes, position: int) -> int:
        """Skip CRLFs before a request line; whatever else stands there is left for the head to refuse."""
        while data.startswith(b"\r\n", position):
            position += 2
            self._empty_lines += 1
            self._seen = 0
        if self._empty_lines > _EMPTY_LINES_MAX:
            raise Broken(400, "Too many empty lines before a request.")
        return position

    def _check_incomplete_head(self, data: bytes, position: int) -> None:
        limits = self._limits
        seen = self._seen
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            # One more than the limit may be the CR of the line's end.
            if len(data) - position > limits.request_line_bytes + 1:
                raise Broken(414, "The request line is too long.")
            if not data[position:].isascii():
                raise Broken(400, "Invalid request line.")
        elif line_end - position > limits.request_line_bytes:
            raise Broken(414, "The request line is too long.")
        else:
            if line_end + 1 >= position + seen:
                request_line(data[position:line_end])
            self._check_incomplete_section(data, line_end + 2, seen - (line_end + 2 - position))
        if INVALID_BYTES.search(data, max(position, position + seen - 1)) is not None:
            raise Broken(400, "An invalid byte or line end in the request head.")

    def _check_incomplete_section(self, data: bytes, position: int, seen: int) -> None:
        """Apply the limits to a header or trailer section of which ``seen`` bytes were checked before."""
        # One more than the limit may be the CR of the empty line.
        if len(data) - position > self._limits.header_bytes + 1:
            raise Broken(431, "The header section is too large.")
        if (
            data.find(b"\n", position + max(seen, 0)) >= 0
            and data.count(b"\r\n", position) > self._limits.header_count
        ):
            raise Broken(431, "Too many header fields.")

    def _read_length(self, data: bytes, position: int, events: list[HttpEvent]) -> int:
        piece = data[position : position + self._left]
        events.append(Body(piece))
        self._left -= len(piece)
        if self._left == 0:
            self._end_message(events)
        return position + len(piece)

    def _end_message(self, events: list[HttpEvent]) -> None:
        events.append(_END)
        self._state = _HEAD if self._keep_alive else _CLOSED

    def _read_chunked(self, data: bytes, position: int, events: list[HttpEvent]) -> int:
        pieces: list[bytes] = []
        try:
            position = self._read_chunks(data, position, pieces)
        finally:
            # Also when a later chunk was refused: what stood before it is as valid as if it had come alone.
            if pieces:
                events.append(Body(b"".join(pieces)))
        if self._state == _HEAD:
            self._end_message(events)
        return position

    def _read_chunks(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """Collect chunk data until the message ends, which makes the state ``_HEAD``, or the data does."""
        size = len(data)
        state = self._state
        left = self._left
        seen = self._seen
        self._seen = 0
        while position < size:
            if state == _CHUNK_LINE:
                line_end = data.find(b"\r\n", position + seen - 1 if seen else position)
                line_bytes = (line_end if line_end >= 0 else size - 1) - position
                if line_bytes > self._limits.chunk_line_bytes:
                    raise Broken(400, "A chunk-size line is too long.")
                if line_end < 0:
                    if INVALID_BYTES.search(data, max(position, position + seen - 1)) is not None:
                        raise Broken(400, "An invalid byte or line end in a chunk-size line.")
                    position = self._hold(data, position)
                    break
                seen = 0
                left = chunk_size(data[position:line_end])
                position = line_end + 2
                end = position + left
                if left == 0:
                    state = _TRAILERS
                elif data[end : end + 2] == b"\r\n":  # many small chunks in one read: at one go
                    pieces.append(data[position:end])
                    position = end + 2
                else:
                    state = _CHUNK_DATA
            elif state == _CHUNK_DATA:
                piece = data[position : position + left]
                pieces.append(piece)
                position += len(piece)
                left -= len(piece)
                if left == 0:
                    state = _CHUNK_END
            elif state == _CHUNK_END:
                if data.startswith(b"\r\n", position):
                    position += 2
                    state = _CHUNK_LINE
                elif position + 1 == size and data.endswith(b"\r"):
                    position = self._hold(data, position)
                else:
                    raise Broken(400, "A chunk is longer than its size.")
                seen = 0
            elif data.startswith(b"\r\n", position):
                position += 2
                state = _HEAD
                break
            else:
                position = self._read_trailers(data, position, seen)
                if not self._held:
                    state = _HEAD
                break
        self._state = state
        self._left = left
        return position

    def _read_trailers(self, data: bytes, position: int, seen: int) -> int:
        """Check a trailer section and drop it: trailers are not headers (RFC 9110 section 6.5.1)."""
        end = data.find(b"\r\n\r\n", position + seen - 3 if seen > 3 else position)
        if end < 0:
            self._check_incomplete_section(data, position, seen)
            if INVALID_BYTES.search(data, max(position, position + seen - 1)) is not None:
                raise Broken(400, "An invalid byte or line end in the trailer section.")
            return self._hold(data, position)
        section = data[position : end + 2]
        if len(section) > self._limits.header_bytes:
            raise Broken(431, "The trailer section is too large.")
        if section.count(b"\r\n") > self._limits.header_count:
            raise Broken(431, "Too many trailer fields.")
        check_trailers(section)
        return end + 4
