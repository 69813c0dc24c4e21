"""A blocking HTTP/1.1 client that sends any bytes and judges the answer strictly (RFC 9112)."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

DEADLINE_S = 5.0
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\Z")


class Closed(AssertionError):
    """The server ended the connection where an answer, or more of it, was due."""


class Reset(AssertionError):
    """The server ended the connection with RST: what it had sent may be lost."""


class Malformed(AssertionError):
    """The server sent bytes that are no HTTP/1.1 response."""


@dataclass
class Response:
    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    until_close: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    def one(self, name: bytes) -> bytes:
        values = self.all(name)
        assert len(values) == 1, f"{name!r} occurs {len(values)} times: {self.headers}"
        return values[0]

    def has(self, name: bytes) -> bool:
        return bool(self.all(name))

    @property
    def closes(self) -> bool:
        return b"close" in b",".join(self.all(b"connection")).lower()


class RawClient:
    """One TCP, TLS or Unix connection. Every wait has a deadline."""

    def __init__(
        self,
        address: Any,
        *,
        deadline_s: float = DEADLINE_S,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
    ) -> None:
        unix = isinstance(address, str)
        if isinstance(address, int):
            address = ("127.0.0.1", address)
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.socket.settimeout(deadline_s)
        try:
            self.socket.connect(address)
            if not unix:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self.deadline_s = deadline_s
        self.buffer = b""
        self.ended = False

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        """Close with RST, as a crashed or hostile client does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def finish(self) -> None:
        """End our side; the server's answer can still be read (half-close)."""
        self.socket.shutdown(socket.SHUT_WR)

    def send_until_blocked(self, piece: bytes, quiet_s: float = 0.3, most: int = 1 << 30) -> int:
        """Send the piece again and again until the server has taken nothing for ``quiet_s``; count the bytes."""
        sent = 0
        self.socket.setblocking(False)
        try:
            view = memoryview(piece)
            while sent < most:
                if not select.select([], [self.socket], [], quiet_s)[1]:
                    break
                try:
                    count = self.socket.send(view)
                except BlockingIOError:
                    continue
                except OSError:
                    break
                sent += count
                view = view[count:] or memoryview(piece)
        finally:
            self.socket.settimeout(self.deadline_s)
        self.unsent = bytes(view) if len(view) != len(piece) else b""
        return sent

    # Reading

    def _fill(self, deadline: float) -> bool:
        """Read more into the buffer; False at the end of the stream."""
        if self.ended:
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"nothing more within the deadline; have {self.buffer[:200]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            raise AssertionError(
                f"no answer within {self.deadline_s} s; have {self.buffer[:200]!r}"
            ) from None
        except (ConnectionResetError, BrokenPipeError):
            self.ended = True
            raise Reset(f"connection reset; have {self.buffer[:200]!r}") from None
        finally:
            with contextlib.suppress(OSError):
                self.socket.settimeout(self.deadline_s)
        if not data:
            self.ended = True
            return False
        self.buffer += data
        return True

    def _deadline(self) -> float:
        return time.monotonic() + self.deadline_s

    def line(self, deadline: float | None = None) -> bytes:
        deadline = deadline or self._deadline()
        while b"\r\n" not in self.buffer:
            if not self._fill(deadline):
                raise Closed(f"connection ended; have {self.buffer!r}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def exactly(self, count: int, deadline: float | None = None) -> bytes:
        deadline = deadline or self._deadline()
        while len(self.buffer) < count:
            if not self._fill(deadline):
                raise Closed(
                    f"connection ended after {len(self.buffer)} of {count} bytes: {self.buffer[:200]!r}"
                )
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def rest(self) -> bytes:
        """Everything until the end of the stream."""
        deadline = self._deadline()
        while self._fill(deadline):
            pass
        data, self.buffer = self.buffer, b""
        return data

    def closed(self) -> None:
        """Assert that the server closes now, cleanly and without another byte."""
        rest = self.rest()
        assert rest == b"", f"expected the end of the connection, got {rest[:200]!r}"

    def gone(self) -> None:
        """Assert that the server ends the connection, in whichever way."""
        with contextlib.suppress(Reset):
            self.rest()
        self.buffer = b""

    def quiet(self, within_s: float) -> None:
        """Assert that the server sends nothing for a while and keeps the connection open."""
        assert self.buffer == b"", f"unexpected {self.buffer[:200]!r}"
        readable = select.select([self.socket], [], [], within_s)[0]
        assert not readable, f"unexpected: {self.socket.recv(200)!r}"

    def _fields(self, deadline: float) -> list[tuple[bytes, bytes]]:
        fields = []
        while line := self.line(deadline):
            match = FIELD_LINE.match(line)
            if match is None:
                raise Malformed(f"not a header field: {line!r}")
            fields.append((match[1], match[2]))
        return fields

    def head(self, deadline: float | None = None) -> Response:
        """The next status line and header section."""
        deadline = deadline or self._deadline()
        line = self.line(deadline)
        match = STATUS_LINE.match(line)
        if match is None:
            raise Malformed(f"not a status line: {line!r}")
        return Response(int(match[1]), match[2], self._fields(deadline))

    def response(self, method: str = "GET") -> Response:
        """The next response, also an interim one, whole and strictly framed (RFC 9112 section 6.3)."""
        deadline = self._deadline()
        response = self.head(deadline)
        status = response.status
        lengths, codings = response.all(b"content-length"), response.all(b"transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise Malformed(f"framed more than once: {response.headers}")
        if status < 200 or status == 204:
            if lengths or codings:
                raise Malformed(f"{status} with body framing: {response.headers}")
            return response
        if method == "HEAD" or status == 304:
            return response
        if codings:
            if codings[0].lower() != b"chunked":
                raise Malformed(f"unknown transfer coding {codings[0]!r}")
            self._chunked(response, deadline)
        elif lengths:
            if not lengths[0].isdigit():
                raise Malformed(f"bad content-length {lengths[0]!r}")
            response.body = self.exactly(int(lengths[0]), deadline)
        else:
            response.until_close = True
            response.body = self.rest()
        return response

    def _chunked(self, response: Response, deadline: float) -> None:
        while True:
            line = self.line(deadline)
            match = CHUNK_LINE.match(line)
            if match is None:
                raise Malformed(f"not a chunk size: {line!r}")
            size = int(match[1], 16)
            if size == 0:
                break
            response.chunks.append(self.exactly(size, deadline))
            if self.exactly(2, deadline) != b"\r\n":
                raise Malformed("no CRLF behind a chunk")
        response.body = b"".join(response.chunks)
        response.trailers = self._fields(deadline)


def request(
    method: str = "GET",
    target: str | bytes = "/",
    *headers: str | bytes,
    body: bytes = b"",
    host: str | None = "localhost",
    version: str = "1.1",
) -> bytes:
    """One request; a Content-Length is added for a body unless Transfer-Encoding or Content-Length is given."""
    target = target.encode() if isinstance(target, str) else target
    lines = [b"%b %b HTTP/%b" % (method.encode(), target, version.encode())]
    if host is not None:
        lines.append(b"Host: " + host.encode())
    given = [header.encode("latin-1") if isinstance(header, str) else header for header in headers]
    lines += given
    framed = any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in given)
    if body and not framed:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
