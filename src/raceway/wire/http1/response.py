"""Turn the response messages of an ASGI application into the bytes of an HTTP/1.1 response."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from raceway.errors import InvalidMessage
from raceway.wire.http1.rules import TOKEN, elements

_TOKEN = re.compile(TOKEN)
_NO_DEFAULTS: Mapping[bytes, bytes] = {}
_UNKNOWN = -1


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())


_STATUS_LINES = {int(status): _status_line(status) for status in HTTPStatus}

_COMMON = b"""
accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods
access-control-allow-origin access-control-expose-headers access-control-max-age age allow cache-control
connection content-disposition content-encoding content-language content-length content-location
content-range content-security-policy content-type cross-origin-opener-policy date etag expires
last-modified link location pragma referrer-policy retry-after server set-cookie strict-transport-security
trailer transfer-encoding upgrade vary via www-authenticate x-accel-buffering x-content-type-options
x-frame-options x-request-id
"""

# Names as applications write them, to lower case: these need no check. Others are checked each time.
_NAMES: dict[bytes, bytes] = {}
for _name in _COMMON.split():
    _NAMES[_name] = _NAMES[_name.title()] = _name

_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection"))


class Http1Response:
    """Write one response (RFC 9110, RFC 9112): the server's framing around what the application meant.

    ``method``, ``http_version`` and ``keep_alive`` are the request's; ``accepts_trailers`` says whether its
    ``TE`` field names trailers. The methods return the bytes to write. They raise ``InvalidMessage`` for what
    ASGI or HTTP does not allow; then nothing of that message is written and nothing has changed.

    ``started``: ``start`` was called. ``head_sent``: the head was returned, so no other response is possible
    any more. ``complete``: nothing more belongs to this response. ``keep_alive``: the connection may be used
    again; known once ``head_sent``. ``truncated``: the body ended short of its Content-Length: close the
    connection, so that the client can tell.
    """

    __slots__ = (
        "_body_ended",
        "_chunked",
        "_head",
        "_http_1_0",
        "_is_head",
        "_left",
        "_no_body",
        "_options",
        "_status",
        "_trailers_due",
        "accepts_trailers",
        "complete",
        "head_sent",
        "keep_alive",
        "started",
        "truncated",
    )

    def __init__(
        self, method: str, http_version: str, keep_alive: bool, accepts_trailers: bool = False
    ) -> None:
        self._is_head = method == "HEAD"
        self._http_1_0 = http_version == "1.0"
        self.accepts_trailers = accepts_trailers
        self.keep_alive = keep_alive
        self.started = self.head_sent = self.complete = self.truncated = False
        self._body_ended = self._chunked = False

    def start(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        trailers: bool = False,
        defaults: Mapping[bytes, bytes] = _NO_DEFAULTS,
    ) -> None:
        """Take the head (ASGI ``http.response.start``); it leaves with the first piece of the body.

        ``defaults`` maps lower-case field names to whole lines, such as ``b"server: raceway\\r\\n"``, each
        for a field that the application did not set.
        """
        if self.started:
            raise InvalidMessage(
                "The response has started: expected http.response.body, not http.response.start."
            )
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise InvalidMessage(f"The status of a response is an int from 200 to 999, not {status!r}.")
        lines = [_STATUS_LINES.get(status) or _status_line(status)]
        framing, missing = _write_fields(lines, headers, defaults)
        lines += missing.values()
        self._head = _joined(lines)
        self._left = _UNKNOWN
        self._options = None
        if framing:
            length = framing.get(b"content-length")
            if length is not None:
                self._left = _content_length(length)
            connection = framing.get(b"connection")
            if connection is not None:
                self._options = _connection_options(connection)
                if b"close" in self._options:
                    self.keep_alive = False
        self._status = status
        self._no_body = self._is_head or status == 204 or status == 304
        self._trailers_due = trailers
        self.started = True

    def body(self, data: bytes, more: bool = False) -> bytes:
        """Take a piece of the body (ASGI ``http.response.body``); ``more`` pieces will follow or not."""
        if type(data) is not bytes:
            data = _as_bytes(data)
        if self._body_ended or not self.started:
            raise self._unexpected("http.response.body")
        if not self.head_sent:
            return self._first(data, more)
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            return chunk if more else chunk + self._end_chunks()
        if self._no_body:
            data = b""
        elif self._left != _UNKNOWN:
            self._count(len(data), more)
        if not more:
            self._end_body()
        return data

    def trailers(self, headers: Iterable[tuple[bytes, bytes]], more: bool = False) -> bytes:
        """Take trailers (ASGI ``http.response.trailers``); they are dropped where they cannot be sent."""
        if self.complete or not self._body_ended:
            raise self._unexpected("http.response.trailers")
        lines: list[bytes] = []
        _write_fields(lines, headers, _NO_DEFAULTS)
        section = _joined(lines)
        if not more:
            self.complete = True
            section += b"\r\n"
        return section if self._chunked and self.accepts_trailers else b""

    def interim(self, status: int, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
        """Return an interim response, such as 100 or 103 (RFC 9110 section 15.2); HTTP/1.0 has none."""
        if self.head_sent:
            raise InvalidMessage("The response has begun: an interim response can only come before it.")
        if not isinstance(status, int) or not 100 <= status <= 199 or status == 101:
            raise InvalidMessage(f"The status of an interim response is 100 or 102 to 199, not {status!r}.")
        if self._http_1_0:
            return b""
        lines = [_STATUS_LINES.get(status) or _status_line(status)]
        _write_fields(lines, headers, _NO_DEFAULTS)
        return _joined(lines) + b"\r\n"

    def _first(self, data: bytes, more: bool) -> bytes:
        """Decide the framing (RFC 9112 section 6): it is known now whether one piece is the whole body."""
        size = len(data)
        framing = b""
        if self._no_body:
            length = self._left
            if length == _UNKNOWN and self._status != 304 and size and not more:
                length = size  # a HEAD whose body was left out says nothing of the length that GET would have
            if length != _UNKNOWN and self._status != 204:
                framing = b"content-length: %d\r\n" % length
            data = b""
        elif self._left != _UNKNOWN:
            framing = b"content-length: %d\r\n" % self._left
            self._count(size, more)
        elif not more and not (self._trailers_due and self.accepts_trailers and not self._http_1_0):
            framing = b"content-length: %d\r\n" % size
            self._left = 0
        elif self._http_1_0:
            self.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked = True
            data = b"%x\r\n%b\r\n" % (size, data) if size else b""
        self.head_sent = True
        if not more:
            if self._chunked:
                data += self._end_chunks()
            else:
                self._end_body()
        head = self._head
        self._head = b""
        if self.keep_alive and not self._http_1_0 and not self._options:
            return b"%b%b\r\n%b" % (head, framing, data)
        return b"%b%b%b\r\n%b" % (head, framing, self._connection(), data)

    @property
    def ends_with_connection(self) -> bool:
        """Only the end of the connection tells the client that the body is complete (HTTP/1.0)."""
        return self.head_sent and not self._chunked and self._left == _UNKNOWN and not self._no_body

    def _connection(self) -> bytes:
        """The Connection line: the server's word on keep-alive, with the application's other options."""
        options = [option for option in self._options or () if option not in (b"close", b"keep-alive")]
        if not self.keep_alive:
            options.append(b"close")
        elif self._http_1_0:
            options.append(b"keep-alive")
        return b"connection: %b\r\n" % b", ".join(options) if options else b""

    def _count(self, size: int, more: bool) -> None:
        """Hold the application to its Content-Length: too much is refused, too little marks the response."""
        left = self._left - size
        if left < 0:
            raise InvalidMessage(f"The body exceeds the Content-Length by {-left} bytes; they were not sent.")
        self._left = left
        if left and not more:
            self.truncated = True
            self.keep_alive = False

    def _end_body(self) -> None:
        self._body_ended = True
        self.complete = not self._trailers_due

    def _end_chunks(self) -> bytes:
        self._end_body()
        return b"0\r\n" if self._trailers_due and self.accepts_trailers else b"0\r\n\r\n"

    def _unexpected(self, message: str) -> InvalidMessage:
        if not self.started:
            return InvalidMessage(
                f"The response has not started: expected http.response.start, not {message}."
            )
        if self.complete:
            return InvalidMessage(f"The response is complete: expected no more messages, not {message}.")
        expected = "http.response.trailers" if self._body_ended else "http.response.body"
        return InvalidMessage(f"Expected {expected}, not {message}.")


def error_response(
    status: int, reason: str, *, head: bool = False, header_lines: Iterable[bytes] = ()
) -> bytes:
    """Return a whole plain-text response that ends the connection: the answer to a ``Violation``.

    ``head``: the request's method was HEAD, so the body is left out. ``header_lines``: the server's own
    further fields, each with its CRLF.
    """
    text = reason.encode() + b"\n"
    framing = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n"
    status_line = _STATUS_LINES.get(status) or _status_line(status)
    return b"".join((status_line, framing % len(text), *header_lines, b"\r\n", b"" if head else text))


def _write_fields(
    lines: list[bytes], headers: Iterable[tuple[bytes, bytes]], defaults: Mapping[bytes, bytes]
) -> tuple[dict[bytes, bytes], Mapping[bytes, bytes]]:
    """Append a line for each field; return the values that frame the message, and the defaults still missing."""
    framing: dict[bytes, bytes] = {}
    missing = defaults
    try:
        for name, value in headers:
            lower = _NAMES.get(name) or _checked_name(name)
            if lower in _FRAMING:
                _add_framing(framing, lower, value)
                continue
            if lower in missing:
                missing = {default: line for default, line in missing.items() if default != lower}
            lines.append(b"%b: %b\r\n" % (name, value))
    except InvalidMessage:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidMessage(f"Headers must be pairs of bytes, a name and a value: {error}.") from None
    return framing, missing


def _add_framing(framing: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    before = framing.get(name)
    if before is None:
        framing[name] = bytes(value)
    elif name != b"content-length":
        framing[name] = before + b"," + value
    elif before != value:
        raise InvalidMessage("More than one Content-Length.")


def _checked_name(name: bytes) -> bytes:
    if _TOKEN.fullmatch(name) is None:
        raise InvalidMessage(f"Invalid header name {name!r}.")
    return name.lower()


def _joined(lines: list[bytes]) -> bytes:
    """Join lines that end in CRLF, and refuse a value that would make two of one, or end a C string."""
    section = b"".join(lines)
    if len(section.translate(None, b"\r\n\0")) != len(section) - 2 * len(lines):
        raise InvalidMessage("A header value must not contain CR, LF or NUL.")
    return section


def _connection_options(value: bytes) -> list[bytes]:
    options = [option for option in elements(value) if option]
    if not all(map(_TOKEN.fullmatch, options)):
        raise InvalidMessage("Invalid Connection header.")
    return options


def _content_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise InvalidMessage(f"Invalid Content-Length {value!r}.")
    return int(value)


def _as_bytes(data: object) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise InvalidMessage(f"The body must be bytes, not {type(data).__name__}.")
