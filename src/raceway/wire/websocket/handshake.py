"""Judge a WebSocket handshake and answer it (RFC 6455 section 4.2)."""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Iterable
from hashlib import sha1

from raceway.errors import InvalidMessage
from raceway.types import Headers
from raceway.wire.events import Request
from raceway.wire.websocket.deflate import Deflate, negotiate

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_field_value = re.compile(rb"[^\r\n\0]*").fullmatch

# Ours to write, or not allowed in a 101 (RFC 9110 section 8.6, RFC 9112 section 6.1).
_OWN_HEADERS = frozenset((b"connection", b"upgrade", b"content-length", b"transfer-encoding"))


class Refusal:
    """A handshake that cannot be accepted: answer ``status`` and ``headers``, with ``reason`` as the body."""

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        self.status = status
        self.headers: Headers = headers or []
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Refusal {self.status} {self.reason}>"


class Upgrade:
    """A handshake that may be accepted.

    ``subprotocols`` are those offered, in order of preference; ``deflate`` is what was agreed on compression.
    """

    __slots__ = ("_accept", "deflate", "subprotocols")

    def __init__(self, key: bytes, subprotocols: list[str], deflate: Deflate | None) -> None:
        self._accept = b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)
        self.subprotocols = subprotocols
        self.deflate = deflate

    def response(self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
        """Return the head of the 101 answer with the application's choice and further headers.

        Raises ``InvalidMessage`` for a subprotocol that was not offered, for a header that is malformed, and
        for one that is the server's own.
        """
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + self._accept,
        ]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                offered = ", ".join(self.subprotocols) or "none"
                raise InvalidMessage(
                    f"subprotocol {subprotocol!r} was not offered by the client; offered: {offered}"
                )
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii"))
        if self.deflate is not None:
            lines.append(b"Sec-WebSocket-Extensions: " + self.deflate.answer)
        lines.extend(_header_line(name, value) for name, value in headers)
        return b"\r\n".join(lines) + b"\r\n\r\n"


def read_upgrade(request: Request, compression: bool = True) -> Upgrade | Refusal:
    """Judge ``request``, whose ``upgrade`` is ``"websocket"``; without ``compression`` none is agreed to."""
    if request.method != "GET":
        return Refusal(405, "A WebSocket handshake is a GET request.", [(b"allow", b"GET")])
    if request.http_version != "1.1":
        return Refusal(400, "A WebSocket handshake needs HTTP/1.1.")
    if not request.ends_here:
        return Refusal(400, "A WebSocket handshake has no body.")
    fields: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name.startswith(b"sec-websocket-"):
            fields.setdefault(name, []).append(value)
    if fields.get(b"sec-websocket-version") != [b"13"]:
        return Refusal(
            426,
            "This server speaks version 13 of the WebSocket protocol.",
            [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")],
        )
    keys = fields.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        return Refusal(400, "A WebSocket handshake has one Sec-WebSocket-Key, the base64 of 16 bytes.")
    subprotocols = _read_subprotocols(fields.get(b"sec-websocket-protocol", []))
    if subprotocols is None:
        return Refusal(400, "Sec-WebSocket-Protocol is not a list of tokens.")
    offers = b",".join(fields.get(b"sec-websocket-extensions", [])).decode("latin-1")
    return Upgrade(keys[0], subprotocols, negotiate(offers) if compression else None)


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(a2b_base64(key, strict_mode=True)) == 16
    except Error:
        return False


def _read_subprotocols(values: list[bytes]) -> list[str] | None:
    """Merge the headers into one list without repetitions; ``None`` if there is something else in it."""
    if not values:
        return []
    names = [name for name in (part.strip(b" \t") for value in values for part in value.split(b",")) if name]
    if not all(_is_token(name) for name in names):
        return None
    return list(dict.fromkeys(name.decode("ascii") for name in names))


def _header_line(name: bytes, value: bytes) -> bytes:
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise InvalidMessage(f"a header is a pair of bytes, not {name!r}: {value!r}")
    if not _is_token(name) or not _is_field_value(value):
        raise InvalidMessage(f"header {name!r}: {value!r} would break the response")
    lower = name.lower()
    if lower == b"sec-websocket-protocol":
        raise InvalidMessage('the subprotocol is not a header here: use "subprotocol"')
    if lower.startswith(b"sec-websocket-") or lower in _OWN_HEADERS:
        raise InvalidMessage(f"header {name.decode('ascii')} is the server's own in a WebSocket handshake")
    return name + b": " + value
