"""What a request may say, beyond the grammar that llhttp checks. Each rule raises ``Broken`` when it is
broken.

Where RFC 9112 leaves a choice between repairing and refusing, these rules refuse: two readers that repair
differently are what request smuggling lives on (RFC 9112 section 11.2).
"""

from __future__ import annotations

import codecs
import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote_to_bytes

from raceway.types import Headers

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""RFC 9110 section 5.6.2."""

VALUE = rb"[\t -~\x80-\x84\x86-\xff]*+"
"""A field value (RFC 9110 section 5.5), without NEL: Python's ``str.splitlines`` takes it for a line end."""

_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\x84\x86-\xff]|\\[\t -~\x80-\x84\x86-\xff])*"'
_EXTENSION = rb"[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?" % (TOKEN, TOKEN, _QUOTED)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:" + _EXTENSION + rb")*")
_FIELD_LINES = re.compile(rb"(?:" + TOKEN + rb":" + VALUE + rb"\r\n)*")
_TOKEN = re.compile(TOKEN)
_VERSION = re.compile(rb"HTTP/([0-9])\.[0-9]")
_ABSOLUTE_FORM = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*+)://([^/?]*+)([^?]*+)(?:\?(.*+))?")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~\-]++|\[([0-9A-Fa-f:.]++)\])(?::([0-9]{0,5}+))?")

INVALID_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85]|(?<!\r)\n|\r[^\n]")
"""A byte that no head, chunk line or trailer may hold, or a line end that is not CRLF."""

_KNOWN_METHODS = b"""
GET HEAD POST PUT DELETE OPTIONS TRACE PATCH QUERY COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK
BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE
MKCALENDAR LINK UNLINK CONNECT
"""
METHODS = {name: name.decode() for name in _KNOWN_METHODS.split()}
"""The methods that llhttp knows."""

VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

CHUNKED = -1
"""In place of a body's length: it comes in chunks."""


class Broken(Exception):
    """Ends reading: becomes the ``Violation`` that the reader hands out; never leaves it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


# The request line (RFC 9112 section 3)


def request_line(line: bytes) -> tuple[str, bytes, str]:
    """Split a request line into method, target and "1.0" or "1.1"; single spaces only."""
    parts = line.split(b" ")
    if len(parts) == 3:
        method = METHODS.get(parts[0])
        version = VERSIONS.get(parts[2])
        if method is not None and version is not None and method != "CONNECT":
            return method, parts[1], version
    return _unusual_request_line(parts)


def _unusual_request_line(parts: list[bytes]) -> tuple[str, bytes, str]:
    version = _VERSION.fullmatch(parts[-1])
    if version is not None and version[1] != b"1":
        raise Broken(505, "This server speaks HTTP/1.1 and HTTP/1.0.")
    if len(parts) != 3 or version is None or _TOKEN.fullmatch(parts[0]) is None:
        raise Broken(400, "Invalid request line.")
    method = METHODS.get(parts[0])
    if method is None:
        raise Broken(501, "Unknown method.")
    if method == "CONNECT":
        raise Broken(501, "CONNECT is not supported: this is not a proxy.")
    # RFC 9110 section 2.5: a higher minor version is read as the highest that we know.
    return method, parts[1], "1.1"


# The target (RFC 9112 section 3.2)


def _percent_again(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("raceway.percent", _percent_again)


def decoded_path(raw_path: bytes) -> str:
    """Percent-decode a path as UTF-8 (ASGI HTTP, ``path``).

    Bytes that are not UTF-8 stay percent-encoded, as in Django under WSGI: the text has no surrogates, so it
    can be logged, quoted and rendered, and two different paths do not become one.
    """
    return unquote_to_bytes(raw_path).decode("utf-8", "raceway.percent")


def unusual_target(method: str, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Split a target that is not in origin-form into raw path, query string and authority."""
    if target == b"*" and method == "OPTIONS":
        return target, b"", None
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise Broken(400, "Invalid request target.")
    scheme, authority, raw_path, query = absolute.groups()
    if scheme.lower() not in (b"http", b"https"):
        raise Broken(400, "The request target's scheme is neither http nor https.")
    check_host(authority)
    if not raw_path:
        # RFC 9112 section 3.2.4: OPTIONS for the server as a whole, through a proxy.
        raw_path = b"*" if method == "OPTIONS" and query is None else b"/"
    return raw_path, query or b"", authority


# Host (RFC 9112 section 3.2, RFC 9110 section 7.2)

_VALID_HOSTS: set[bytes] = set()
_VALID_HOSTS_MAX = 256


def check_host(host: bytes) -> None:
    """Refuse what is not ``name``, ``name:port`` or ``[IPv6]:port``.

    Narrower than RFC 3986, which allows sub-delimiters and percent-encoding in a name: no name in use has
    them, and injections through Host do.
    """
    if host in _VALID_HOSTS:
        return
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 0) > 65535:
        raise Broken(400, "Invalid Host.")
    if match[1] is not None:
        try:
            IPv6Address(match[1].decode())
        except AddressValueError:
            raise Broken(400, "Invalid Host.") from None
    if len(_VALID_HOSTS) >= _VALID_HOSTS_MAX:
        _VALID_HOSTS.clear()
    _VALID_HOSTS.add(host)


# The framing of the body (RFC 9112 section 6)


def elements(value: bytes) -> list[bytes]:
    """The elements of a list (RFC 9110 section 5.6.1) in lower case; an empty one is ``b""``."""
    return [element.strip(b" \t") for element in value.lower().split(b",")]


def tokens(fields: Headers, name: bytes) -> list[bytes]:
    """The list elements of all fields called ``name``."""
    return [element for field, value in fields if field == name for element in elements(value)]


def body_length(fields: Headers, version: str) -> int:
    """Return the length in bytes, or ``CHUNKED``; a request with neither field has no body (section 6.3)."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = tokens(fields, b"transfer-encoding")
    if codings:
        _check_codings(codings, version)
        if lengths:
            raise Broken(400, "Both Content-Length and Transfer-Encoding.")
        return CHUNKED
    if not lengths:
        return 0
    # Equal duplicates might be merged (section 6.3); refusing them leaves nothing to disagree on.
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise Broken(400, "Invalid Content-Length.")
    return int(lengths[0])


def _check_codings(codings: list[bytes], version: str) -> None:
    if version == "1.0":
        raise Broken(400, "Transfer-Encoding in HTTP/1.0.")
    if codings == [b"chunked"]:
        return
    if b"chunked" in codings[:-1] or not all(map(_TOKEN.fullmatch, codings)):
        raise Broken(400, "Invalid Transfer-Encoding.")
    raise Broken(501, "Unknown transfer coding: this server decodes chunked only.")


def expects_continue(fields: Headers, version: str) -> bool:
    """Say whether the client waits for 100 (RFC 9110 section 10.1.1); one that speaks HTTP/1.0 cannot."""
    if version == "1.0":
        return False
    expectations = tokens(fields, b"expect")
    if any(expectation != b"100-continue" for expectation in expectations):
        raise Broken(417, "Unknown expectation.")
    return bool(expectations)


# Chunks (RFC 9112 section 7.1)


_SMALL_SIZES = {b"%x" % size: size for size in range(256)}


def chunk_size(line: bytes) -> int:
    """Return the size that a chunk's first line names, in bytes; extensions are checked and dropped."""
    size = _SMALL_SIZES.get(line)
    if size is not None:
        return size
    match = _CHUNK_LINE.fullmatch(line)
    if match is None:
        raise Broken(400, "Invalid chunk.")
    return int(match[1], 16)


def check_trailers(section: bytes) -> None:
    """Refuse a trailer section with a malformed field line; well-formed ones are dropped by the caller."""
    if _FIELD_LINES.fullmatch(section) is None:
        raise Broken(400, "Invalid trailer field.")
