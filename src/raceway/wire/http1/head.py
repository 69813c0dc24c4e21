"""Read one whole request head: llhttp first, then our own rules."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from raceway.types import Headers
from raceway.wire.events import Request
from raceway.wire.http1 import rules
from raceway.wire.http1.rules import Refusal


class _FieldNames(dict[bytes, bytes]):
    """Field names as clients write them to their lower-case form; the common ones share one object each."""

    def __missing__(self, name: bytes) -> bytes:
        return name.lower()


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


def read_head(head: bytes, line_end: int, field_count: int) -> tuple[Request, int]:
    """Turn a head (from its first byte to its empty line) into a request and the length of its body.

    ``line_end`` is where the request line ends, ``field_count`` how many lines follow it before the empty
    one. The length is in bytes, or ``CHUNKED``. Raises ``Refusal``.

    Each head has a parser of its own, made for it: that costs a third of a microsecond, keeps nothing on an
    idle connection, and no state (a body, an upgrade, an end of keep-alive) can spill from one message into
    the next.
    """
    method, target, version = rules.request_line(head[:line_end])
    parsed = _Fields()
    fields = parsed.fields
    agreed = True
    try:
        HttpRequestParser(parsed).feed_data(head if head[line_end - 1] < 50 else _as_http_1_1(head, line_end))
    except HttpParserUpgrade:
        # llhttp leaves HTTP here and looks for no body, whether or not the upgrade is one that we know.
        agreed = False
    except HttpParserError as error:
        if len(fields) == field_count:
            rules.body_length(fields, version)
        raise Refusal(400, f"{error}.") from None
    if len(fields) != field_count or b"\x85" in head:
        raise Refusal(400, "Invalid header field.")

    if target.startswith(b"/"):
        raw_path, _, query_string = target.partition(b"?")
        authority = None
    else:
        raw_path, query_string, authority = rules.unusual_target(method, target)
    if b"#" in target:
        raise Refusal(400, "A fragment in the request target.")

    last = dict(fields)
    duplicates = len(last) != field_count
    host = last.get(b"host")
    if host is not None:
        rules.check_host(host)
        if duplicates and sum(name == b"host" for name, _ in fields) > 1:
            raise Refusal(400, "More than one Host.")
    elif version == "1.1":
        raise Refusal(400, "No Host.")
    if authority is not None:
        _replace_host(fields, authority)

    length = 0
    if b"content-length" in last or b"transfer-encoding" in last:
        length = rules.body_length(fields, version)
    # The two readers of this head must agree on whether a body follows.
    if agreed and parsed.complete != (length == 0):
        raise Refusal(400, "Ambiguous request body.")

    keep_alive = version == "1.1"
    upgrade = None
    connection = last.get(b"connection")
    if connection is not None:
        if connection == b"keep-alive" and not duplicates:
            keep_alive = True
        else:
            options = rules.tokens(fields, b"connection")
            keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
            if b"upgrade" in options and version == "1.1" and length == 0:
                # What follows a body could be taken for the new protocol's first bytes, so no body may be
                # there.
                upgrade = "websocket" if b"websocket" in rules.tokens(fields, b"upgrade") else None

    # An HTTP/1.0 client cannot be waiting (RFC 9110 section 10.1.1).
    expects_continue = (
        b"expect" in last and version == "1.1" and rules.expects_continue(fields) and length != 0
    )
    return (
        Request(
            method,
            raw_path.decode("ascii") if b"%" not in raw_path else rules.decoded_path(raw_path),
            raw_path,
            query_string,
            fields,
            version,
            keep_alive,
            length == 0,
            expects_continue,
            upgrade,
        ),
        length,
    )


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
