"""Read one whole request head: llhttp first, then our own rules."""

from __future__ import annotations

from typing import TypeAlias

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from raceway.types import Headers
from raceway.wire.events import Request
from raceway.wire.http1 import rules
from raceway.wire.http1.rules import Broken

# As numbers: a byte is found four times faster so than as a string of one.
_DIGIT_1, _HASH, _NEL, _PERCENT = b"1#\x85%"

_ENDING = frozenset((b"proxy-connection", b"upgrade"))
"""Fields that to llhttp may end the connection although they do not to us."""

_UNDERSCORED = b"_"
"""In place of any name with an underscore."""


class _FieldNames(dict[bytes, bytes]):
    """Field names as clients write them to their lower-case form; the common ones share one object each."""

    def __missing__(self, name: bytes) -> bytes:
        return _UNDERSCORED if b"_" in name else name.lower()


_COMMON = b"""
accept accept-charset accept-encoding accept-language access-control-request-headers
access-control-request-method authorization cache-control connection content-encoding content-length
content-type cookie dnt expect forwarded host if-match if-modified-since if-none-match if-range
if-unmodified-since keep-alive last-event-id origin pragma priority range referer sec-ch-ua sec-ch-ua-mobile
sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc
sec-websocket-extensions sec-websocket-key sec-websocket-protocol sec-websocket-version te traceparent
tracestate trailer transfer-encoding upgrade upgrade-insecure-requests user-agent via x-csrftoken
x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip x-request-id x-requested-with
"""

_NAMES = _FieldNames()
for _name in _COMMON.split():
    _NAMES[_name] = _NAMES[_name.title()] = _name
_NAMES.update({b"DNT": b"dnt", b"TE": b"te", b"X-CSRFToken": b"x-csrftoken"})
_NAMES.update(
    {name.replace(b"Websocket", b"WebSocket"): _NAMES[name] for name in list(_NAMES) if b"Websocket" in name}
)


class _Fields:
    """What llhttp calls back: the fields in wire order, and whether it saw the message end with the head."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: Headers = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((_NAMES[name], value.strip()))

    def on_message_complete(self) -> None:
        self.complete = True


_Parser: TypeAlias = tuple[HttpRequestParser, _Fields]

_spare: list[_Parser] = []
"""A parser that has read only whole requests without a body on connections that stay open: it takes the next head for
the first. Any other parser is dropped after its head, so that no state (a body, an upgrade, an end of keep-alive)
can spill from one message into another. Reusing it saves a fifth of the parsing of a small request."""


def read_head(head: bytes, line_end: int, field_count: int) -> tuple[Request, int]:
    """Turn a head (from its first byte to its empty line) into a request and the length of its body.

    ``line_end`` is where the request line ends, ``field_count`` how many lines follow it before the empty
    one. The length is in bytes, or ``CHUNKED``. Raises ``Broken``.
    """
    method, target, version = rules.request_line(head[:line_end])
    fields, ends, parser = _parse(head, line_end, field_count, version)

    if target.startswith(b"/"):
        raw_path, _, query_string = target.partition(b"?")
        authority = None
    else:
        raw_path, query_string, authority = rules.unusual_target(method, target)
    if _HASH in target:
        raise Broken(400, "A fragment in the request target.")

    last = dict(fields)
    duplicates = len(last) != field_count
    if _UNDERSCORED in last:
        # As in CGI: where names become variables, X_User is taken for X-User, which a proxy may vouch for.
        fields[:] = [field for field in fields if field[0] != _UNDERSCORED]

    host = last.get(b"host")
    if host is not None:
        rules.check_host(host)
        if duplicates and sum(name == b"host" for name, _ in fields) > 1:
            raise Broken(400, "More than one Host.")
    elif version == "1.1":
        raise Broken(400, "No Host.")
    if authority is not None:
        _replace_host(fields, authority)

    length = 0
    if b"content-length" in last or b"transfer-encoding" in last:
        length = rules.body_length(fields, version)
    if ends is not None and ends != (length == 0):
        raise Broken(400, "Ambiguous request body.")

    keep_alive = version == "1.1"
    upgrade = None
    connection = last.get(b"connection")
    if connection is None:
        pass
    elif connection == b"keep-alive" and not duplicates:
        keep_alive = True
    else:
        options = rules.tokens(fields, b"connection")
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
        # Bytes of a body could be taken for the new protocol's, so a request with a body upgrades nothing.
        if b"upgrade" in options and version == "1.1" and length == 0:
            upgrade = "websocket" if b"websocket" in rules.tokens(fields, b"upgrade") else None

    if ends and keep_alive and version == "1.1" and _ENDING.isdisjoint(last):
        _spare[:] = (parser,)
    return (
        Request(
            method,
            raw_path.decode("ascii") if _PERCENT not in raw_path else rules.decoded_path(raw_path),
            raw_path,
            query_string,
            fields,
            version,
            keep_alive,
            length == 0,
            b"expect" in last and rules.expects_continue(fields, version) and length != 0,
            upgrade,
        ),
        length,
    )


def _parse(
    head: bytes, line_end: int, field_count: int, version: str
) -> tuple[Headers, bool | None, _Parser]:
    """Let llhttp check and split a head; return its fields, whether the request ends with it, and the parser used.

    ``None``: llhttp does not say, as it leaves HTTP at any upgrade, also at one that is not for us.
    """
    if _spare:
        parser, parsed = _spare.pop()
        parsed.fields = []
        parsed.complete = False
    else:
        parsed = _Fields()
        parser = HttpRequestParser(parsed)
    fields = parsed.fields
    ends: bool | None
    try:
        parser.feed_data(head if head[line_end - 1] <= _DIGIT_1 else _as_http_1_1(head, line_end))
        ends = parsed.complete
    except HttpParserUpgrade:
        ends = None
    except HttpParserError as error:
        if len(fields) == field_count:
            rules.body_length(fields, version)  # it may know a better answer to a transfer coding
        raise Broken(400, f"{error}.") from None
    if len(fields) != field_count or b"\x85" in head:
        raise Broken(400, "Invalid header field.")
    return fields, ends, (parser, parsed)


def _as_http_1_1(head: bytes, line_end: int) -> bytes:
    """llhttp refuses HTTP/1.2 and later, which are to be read as HTTP/1.1 (RFC 9110 section 2.5)."""
    return head[: line_end - 1] + b"1" + head[line_end:]


def _replace_host(fields: Headers, authority: bytes) -> None:
    """RFC 9112 section 3.2.2: an absolute target's authority is the host, whatever Host says."""
    for index, (name, _) in enumerate(fields):
        if name == b"host":
            fields[index] = (name, authority)
            return
    fields.insert(0, (b"host", authority))
