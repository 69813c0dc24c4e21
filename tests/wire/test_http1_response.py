"""ASGI messages in, bytes out: the framing of responses (RFC 9112 section 6)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from raceway.errors import InvalidMessage
from raceway.wire.http1 import Http1Response, error_response

DEFAULTS = {b"date": b"date: today\r\n", b"server": b"server: raceway\r\n"}
TYPE = (b"content-type", b"text/plain")


def length(value: int | bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % value if isinstance(value, int) else value


def responding(
    *headers: Any,
    status: Any = 200,
    method: str = "GET",
    version: str = "1.1",
    keep_alive: bool = True,
    trailers: bool = False,
    accepts_trailers: bool = False,
) -> Http1Response:
    response = Http1Response(method, version, keep_alive, accepts_trailers)
    response.start(status, headers, trailers)
    return response


def raw(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines, b"", body))


CL5 = b"content-length: 5"
CHUNKED = b"transfer-encoding: chunked"
KEEP = b"connection: keep-alive"
CLOSE = b"connection: close"

# name: (request and start, body pieces (the last one ends it), bytes written, keep-alive afterwards)
FRAMED: dict[str, tuple[dict[str, Any], list[bytes], bytes, bool]] = {
    "one piece": ({}, [b"hello"], raw(CL5, body=b"hello"), True),
    "empty": ({}, [b""], raw(b"content-length: 0"), True),
    "last request": ({"keep_alive": False}, [b"hello"], raw(CL5, CLOSE, body=b"hello"), False),
    "own length": ({"headers": [length(5)]}, [b"hello"], raw(CL5, body=b"hello"), True),
    "own length in pieces": ({"headers": [length(5)]}, [b"he", b"", b"llo"], raw(CL5, body=b"hello"), True),
    "own length, empty end": ({"headers": [length(5)]}, [b"hello", b""], raw(CL5, body=b"hello"), True),
    "pieces": (
        {},
        [b"hello", b"", b"0123456789abcdef", b""],
        raw(CHUNKED, body=b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"),
        True,
    ),
    "last piece with data": ({}, [b"a", b"b"], raw(CHUNKED, body=b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"), True),
    "empty first piece": ({}, [b"", b"a"], raw(CHUNKED, body=b"1\r\na\r\n0\r\n\r\n"), True),
    "pieces on a last request": (
        {"keep_alive": False},
        [b"a", b""],
        raw(CHUNKED, CLOSE, body=b"1\r\na\r\n0\r\n\r\n"),
        False,
    ),
    # HTTP/1.0
    "1.0": ({"version": "1.0", "keep_alive": False}, [b"hello"], raw(CL5, CLOSE, body=b"hello"), False),
    "1.0 keep-alive": ({"version": "1.0"}, [b"hello"], raw(CL5, KEEP, body=b"hello"), True),
    "1.0 keep-alive with own length": (
        {"version": "1.0", "headers": [length(2)]},
        [b"a", b"b"],
        raw(b"content-length: 2", KEEP, body=b"ab"),
        True,
    ),
    "1.0 pieces end with the connection": ({"version": "1.0"}, [b"a", b"b"], raw(CLOSE, body=b"ab"), False),
    # HEAD, 204, 304
    "head": ({"method": "HEAD"}, [b"hello"], raw(CL5), True),
    "head without the body": ({"method": "HEAD"}, [b""], raw(), True),
    "head with own length": ({"method": "HEAD", "headers": [length(5)]}, [b""], raw(CL5), True),
    "head with own length and body": ({"method": "HEAD", "headers": [length(5)]}, [b"hello"], raw(CL5), True),
    "head in pieces": ({"method": "HEAD"}, [b"a", b"b"], raw(), True),
    "head in 1.0": ({"method": "HEAD", "version": "1.0"}, [b"a", b"b"], raw(KEEP), True),
    "204": ({"status": 204}, [b""], raw(status=b"204 No Content"), True),
    "204 loses length and body": (
        {"status": 204, "headers": [length(5)]},
        [b"hello"],
        raw(status=b"204 No Content"),
        True,
    ),
    "204 in pieces": ({"status": 204}, [b"a", b"b"], raw(status=b"204 No Content"), True),
    "204 to head": ({"status": 204, "method": "HEAD"}, [b"hello"], raw(status=b"204 No Content"), True),
    "304": ({"status": 304}, [b""], raw(status=b"304 Not Modified"), True),
    "304 keeps length, loses body": (
        {"status": 304, "headers": [length(5)]},
        [b"hello"],
        raw(CL5, status=b"304 Not Modified"),
        True,
    ),
    "304 in pieces": ({"status": 304}, [b"a", b"b"], raw(status=b"304 Not Modified"), True),
    "304 to head": ({"status": 304, "method": "HEAD"}, [b"hello"], raw(status=b"304 Not Modified"), True),
    # The application's own framing fields
    "transfer-encoding is the server's": (
        {"headers": [(b"Transfer-Encoding", b"chunked")]},
        [b"hello"],
        raw(CL5, body=b"hello"),
        True,
    ),
    "transfer-encoding beside a length": (
        {"headers": [(b"transfer-encoding", b"gzip"), length(5)]},
        [b"hello"],
        raw(CL5, body=b"hello"),
        True,
    ),
    "equal lengths": ({"headers": [length(5), length(5)]}, [b"hello"], raw(CL5, body=b"hello"), True),
    "close": ({"headers": [(b"Connection", b"Close")]}, [b"hello"], raw(CL5, CLOSE, body=b"hello"), False),
    "keep-alive is the server's": (
        {"headers": [(b"connection", b"keep-alive")], "keep_alive": False},
        [b"hello"],
        raw(CL5, CLOSE, body=b"hello"),
        False,
    ),
    "keep-alive in 1.1 goes without saying": (
        {"headers": [(b"connection", b"keep-alive")]},
        [b"hello"],
        raw(CL5, body=b"hello"),
        True,
    ),
    "other connection options": (
        {"status": 426, "headers": [(b"connection", b"Upgrade, close"), (b"Upgrade", b"websocket")]},
        [b""],
        raw(
            b"Upgrade: websocket",
            b"content-length: 0",
            b"connection: upgrade, close",
            status=b"426 Upgrade Required",
        ),
        False,
    ),
    "upgrade option alone": (
        {"headers": [(b"connection", b"upgrade")]},
        [b""],
        raw(b"content-length: 0", b"connection: upgrade"),
        True,
    ),
    # The rest of the head
    "fields as they are": (
        {"headers": [TYPE, (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-own", b" \xc3\xa9\t")]},
        [b""],
        raw(
            b"content-type: text/plain",
            b"Set-Cookie: a=1",
            b"set-cookie: b=2",
            b"x-own:  \xc3\xa9\t",
            b"content-length: 0",
        ),
        True,
    ),
    "unknown status": ({"status": 299}, [b""], raw(b"content-length: 0", status=b"299 "), True),
    "status of an enum": (
        {"status": HTTPStatus.NOT_FOUND},
        [b""],
        raw(b"content-length: 0", status=b"404 Not Found"),
        True,
    ),
    "trailers announced but unwanted": (
        {"trailers": True, "headers": [length(5)]},
        [b"hello"],
        raw(CL5, body=b"hello"),
        True,
    ),
}


@pytest.mark.parametrize(("given", "pieces", "expected", "keep_alive"), FRAMED.values(), ids=FRAMED)
def test_framing(given: dict[str, Any], pieces: list[bytes], expected: bytes, keep_alive: bool) -> None:
    given = dict(given)
    response = responding(*given.pop("headers", ()), **given)
    assert response.started
    assert not response.head_sent
    written = b""
    for index, piece in enumerate(pieces):
        assert not response.complete
        written += response.body(piece, index + 1 < len(pieces))
        assert response.head_sent
    assert written == expected
    assert response.keep_alive is keep_alive
    assert response.complete is not given.get("trailers", False)
    assert not response.truncated


def test_head_and_first_piece_are_one_write() -> None:
    response = responding(TYPE)
    assert response.body(b"a", True) == raw(b"content-type: text/plain", CHUNKED, body=b"1\r\na\r\n")
    assert response.body(b"b", True) == b"1\r\nb\r\n"


def test_head_leaves_with_an_empty_first_piece() -> None:
    assert responding().body(b"", True) == raw(CHUNKED)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], b"date: today\r\nserver: raceway\r\n"),
        ([(b"Server", b"mine")], b"Server: mine\r\ndate: today\r\n"),
        ([(b"sErVer", b"mine")], b"sErVer: mine\r\ndate: today\r\n"),
        ([(b"date", b"now"), (b"server", b"mine")], b"date: now\r\nserver: mine\r\n"),
        ([(b"date", b"now"), (b"date", b"later")], b"date: now\r\ndate: later\r\nserver: raceway\r\n"),
    ],
)
def test_defaults_are_for_fields_that_the_application_left_out(
    headers: list[tuple[bytes, bytes]], expected: bytes
) -> None:
    response = Http1Response("GET", "1.1", True)
    response.start(200, headers, False, DEFAULTS)
    assert response.body(b"") == b"HTTP/1.1 200 OK\r\n" + expected + b"content-length: 0\r\n\r\n"
    assert list(DEFAULTS) == [b"date", b"server"]


# Content-Length is a promise


@pytest.mark.parametrize("pieces", [[b"hello!"], [b"hello", b"!"], [b"he", b"llo!"], [b"h", b"ello!", b""]])
def test_excess_is_refused_and_never_written(pieces: list[bytes]) -> None:
    response = responding(length(5))
    excessive = next(index for index, piece in enumerate(pieces) if b"!" in piece)
    for piece in pieces[:excessive]:
        response.body(piece, True)
    with pytest.raises(InvalidMessage, match="exceeds the Content-Length by 1 byte"):
        response.body(pieces[excessive], excessive + 1 < len(pieces))
    assert not response.complete
    assert response.head_sent is (excessive > 0)


def test_right_end_after_refused_excess() -> None:
    response = responding(length(5))
    with pytest.raises(InvalidMessage):
        response.body(b"too long")
    assert response.body(b"hello") == raw(CL5, body=b"hello")
    assert response.complete
    assert response.keep_alive


@pytest.mark.parametrize("pieces", [[b"he"], [b""], [b"he", b""], [b"h", b"e"]])
def test_short_body_is_marked(pieces: list[bytes]) -> None:
    response = responding(length(5))
    written = b""
    for index, piece in enumerate(pieces):
        written += response.body(piece, index + 1 < len(pieces))
    assert response.complete
    assert response.truncated
    assert not response.keep_alive
    assert b"content-length: 5\r\n" in written
    assert (CLOSE in written) is (len(pieces) == 1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"version": "1.0"}, True),
        ({"version": "1.0", "headers": [length(5)]}, False),
        ({"version": "1.0", "method": "HEAD"}, False),
        ({"version": "1.0", "status": 304}, False),
        ({}, False),
        ({"headers": [length(5)]}, False),
    ],
)
def test_ends_with_connection(given: dict[str, Any], expected: bool) -> None:
    given = dict(given)
    response = responding(*given.pop("headers", ()), **given)
    assert not response.ends_with_connection
    response.body(b"a", True)
    assert response.ends_with_connection is expected


def test_whole_body_does_not_end_with_connection() -> None:
    response = responding(version="1.0")
    response.body(b"a")
    assert not response.ends_with_connection


# Trailers


def test_trailers() -> None:
    response = responding(trailers=True, accepts_trailers=True)
    assert response.body(b"a") == raw(CHUNKED, body=b"1\r\na\r\n0\r\n")
    assert not response.complete
    assert response.trailers([(b"x-sum", b"1")], True) == b"x-sum: 1\r\n"
    assert response.trailers([(b"x-end", b"2"), (b"Content-Length", b"5")]) == b"x-end: 2\r\n\r\n"
    assert response.complete


def test_trailers_after_pieces() -> None:
    response = responding(trailers=True, accepts_trailers=True)
    response.body(b"a", True)
    assert response.body(b"") == b"0\r\n"
    assert response.trailers([]) == b"\r\n"
    assert response.complete


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"accepts_trailers": False}, [b"a"]),
        ({"accepts_trailers": False}, [b"a", b""]),
        ({"accepts_trailers": True, "version": "1.0"}, [b"a"]),
        ({"accepts_trailers": True, "version": "1.0"}, [b"a", b""]),
        ({"accepts_trailers": True, "method": "HEAD"}, [b"a"]),
        ({"accepts_trailers": True, "status": 304}, [b"a"]),
    ],
)
def test_trailers_are_dropped_where_they_cannot_be_sent(given: dict[str, Any], pieces: list[bytes]) -> None:
    response = responding(trailers=True, **given)
    written = b"".join(response.body(piece, index + 1 < len(pieces)) for index, piece in enumerate(pieces))
    assert (CHUNKED in written) is written.endswith(b"\r\n0\r\n\r\n")
    assert not response.complete
    assert response.trailers([(b"x", b"y")]) == b""
    assert response.complete


# Interim responses


def test_continue() -> None:
    response = Http1Response("POST", "1.1", True)
    assert response.interim(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    response.start(200, [])
    assert response.body(b"") == raw(b"content-length: 0")


def test_early_hints() -> None:
    response = Http1Response("GET", "1.1", True)
    links = [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>")]
    expected = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"
    assert response.interim(103, links) == expected
    assert response.interim(103, links) == expected


def test_no_interim_response_in_http_1_0() -> None:
    assert Http1Response("GET", "1.0", True).interim(103, [(b"link", b"x")]) == b""


@pytest.mark.parametrize("status", [99, 101, 200, "100", None])
def test_invalid_interim_status(status: Any) -> None:
    with pytest.raises(InvalidMessage, match="interim"):
        Http1Response("GET", "1.1", True).interim(status)


def test_no_interim_response_after_the_head() -> None:
    response = responding()
    response.body(b"", True)
    with pytest.raises(InvalidMessage, match="interim"):
        response.interim(103)


# What an application may not say


@pytest.mark.parametrize("status", [0, 100, 199, 1000, -200, "200", b"200", 200.0, None, True])
def test_invalid_status(status: Any) -> None:
    with pytest.raises(InvalidMessage, match="200 to 999"):
        responding(status=status)


INVALID_HEADERS: dict[str, tuple[Any, ...]] = {
    "name is text": ("x", b"y"),
    "known name is text": ("content-type", b"y"),
    "value is text": (b"x", "y"),
    "value is None": (b"x", None),
    "value is a number": (b"content-length", 5),
    "length is text": (b"content-length", "5"),
    "not a pair": (b"x",),
    "three": (b"x", b"y", b"z"),
    "empty name": (b"", b"y"),
    "name with a space": (b"x y", b"z"),
    "name with a colon": (b"x:", b"z"),
    "name with CRLF": (b"x\r\ny", b"z"),
    "name ends with LF": (b"x\n", b"z"),
    "value with CRLF": (b"x", b"y\r\nz: 1"),
    "value with LF": (b"x", b"y\nz"),
    "value with CR": (b"x", b"y\rz"),
    "value with NUL": (b"x", b"y\0"),
    "folded value": (b"x", b"y\r\n z"),
    "length with CRLF": (b"content-length", b"5\r\nx: y"),
    "negative length": (b"content-length", b"-5"),
    "signed length": (b"content-length", b"+5"),
    "empty length": (b"content-length", b""),
    "list of lengths": (b"content-length", b"5, 5"),
    "huge length": (b"content-length", b"9" * 19),
}


@pytest.mark.parametrize("header", INVALID_HEADERS.values(), ids=INVALID_HEADERS)
def test_invalid_header(header: tuple[Any, ...]) -> None:
    response = Http1Response("GET", "1.1", True)
    with pytest.raises(InvalidMessage):
        response.start(200, [header])  # type: ignore[list-item]
    assert not response.started
    assert response.keep_alive
    response.start(200, [])
    assert response.body(b"") == raw(b"content-length: 0")


def test_message_names_the_mend() -> None:
    with pytest.raises(InvalidMessage, match="must be pairs of bytes"):
        responding(("x", b"y"))
    with pytest.raises(InvalidMessage, match="must be pairs of bytes"):
        responding((b"x", "y"))
    with pytest.raises(InvalidMessage, match="body must be bytes, not str"):
        responding().body("hello")  # type: ignore[arg-type]


def test_conflicting_lengths() -> None:
    with pytest.raises(InvalidMessage, match="More than one Content-Length"):
        responding(length(5), length(6))


@pytest.mark.parametrize("header", [(b"connection", b"close\r\nx: y"), (b"connection", b"a\0b")])
def test_connection_options_cannot_inject(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(InvalidMessage):
        responding(header)


@pytest.mark.parametrize("header", [(b"x", b"y\r\nz: 1"), ("x", b"y"), (b"x y", b"z")])
def test_invalid_headers_elsewhere(header: Any) -> None:
    with pytest.raises(InvalidMessage):
        Http1Response("GET", "1.1", True).interim(103, [header])
    response = responding(trailers=True, accepts_trailers=True)
    response.body(b"")
    with pytest.raises(InvalidMessage):
        response.trailers([header])
    assert not response.complete


def test_other_kinds_of_bytes() -> None:
    response = responding((b"x", bytearray(b"y")))
    assert response.body(memoryview(b"hello")) == raw(b"x: y", CL5, body=b"hello")  # type: ignore[arg-type]


# The order of messages


def test_body_before_start() -> None:
    with pytest.raises(InvalidMessage, match=r"expected http.response.start, not http.response.body"):
        Http1Response("GET", "1.1", True).body(b"")


def test_start_twice() -> None:
    with pytest.raises(InvalidMessage, match=r"expected http.response.body, not http.response.start"):
        responding().start(200, [])


def test_body_after_the_end() -> None:
    response = responding()
    response.body(b"")
    with pytest.raises(InvalidMessage, match="complete"):
        response.body(b"")


def test_trailers_out_of_order() -> None:
    with pytest.raises(InvalidMessage, match=r"expected http.response.start, not http.response.trailers"):
        Http1Response("GET", "1.1", True).trailers([])
    response = responding(trailers=True)
    with pytest.raises(InvalidMessage, match=r"Expected http.response.body, not http.response.trailers"):
        response.trailers([])
    response.body(b"")
    with pytest.raises(InvalidMessage, match=r"Expected http.response.trailers, not http.response.body"):
        response.body(b"")
    response.trailers([])
    with pytest.raises(InvalidMessage, match="complete"):
        response.trailers([])


def test_trailers_that_were_not_announced() -> None:
    response = responding(accepts_trailers=True)
    response.body(b"")
    with pytest.raises(InvalidMessage, match="complete"):
        response.trailers([])


# Errors of the client


def test_error_response() -> None:
    assert error_response(400, "Invalid Host.") == (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 14\r\n"
        b"connection: close\r\n\r\nInvalid Host.\n"
    )


def test_error_response_to_head_and_with_further_fields() -> None:
    response = error_response(503, "é", head=True, header_lines=[b"retry-after: 5\r\n"])
    assert response == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\n"
        b"connection: close\r\nretry-after: 5\r\n\r\n"
    )
