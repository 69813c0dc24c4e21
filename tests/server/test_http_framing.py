"""Where one request ends and the next begins: bodies, pipelining and everything smugglers try (RFC 9112)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.rawhttp import Closed, Reset, chunked, request
from tests.server.running import Gate, Seen, answer, answering, body_of

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


def echoing(seen: Seen | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if seen is not None:
            seen.put(scope["path"])
        await answer(send, scope["path"].encode() + b"|" + await body_of(receive))

    return app


# Bodies


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (request("POST", "/", body=b"hello"), b"hello"),
        (request("POST", "/", "Content-Length: 0"), b""),
        (request("POST", "/"), b""),
        (request("POST", "/", "Content-Length: 005", body=b"hello"), b"hello"),
        (request("GET", "/", body=b"hello"), b"hello"),
        (request("DELETE", "/", body=b"hello"), b"hello"),
        (request("POST", "/", body=bytes(range(256))), bytes(range(256))),
        (request("POST", "/", body=b"x" * 300_000), b"x" * 300_000),
        (request("POST", "/", body=SMUGGLED), SMUGGLED),
        (request("POST", "/", "Transfer-Encoding: chunked", body=chunked()), b""),
        (request("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"hello")), b"hello"),
        (request("POST", "/", "Transfer-Encoding: Chunked", body=chunked(b"hello")), b"hello"),
        (request("POST", "/", "transfer-encoding:chunked", body=chunked(b"hello")), b"hello"),
        (request("POST", "/", "Transfer-Encoding:  chunked  ", body=chunked(b"hello")), b"hello"),
        (request("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"a", b"bc", b"def")), b"abcdef"),
        (request("GET", "/", "Transfer-Encoding: chunked", body=chunked(b"a")), b"a"),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), b"hello"),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"00005\r\nhello\r\n000\r\n\r\n"), b"hello"),
        (
            request("POST", "/", "Transfer-Encoding: chunked", body=b"A\r\n0123456789\r\n0\r\n\r\n"),
            b"0123456789",
        ),
        (
            request("POST", "/", "Transfer-Encoding: chunked", body=b"a\r\n0123456789\r\n0\r\n\r\n"),
            b"0123456789",
        ),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"5;a\r\nhello\r\n0\r\n\r\n"), b"hello"),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), b"hello"),
        (
            request("POST", "/", "Transfer-Encoding: chunked", body=b'5;a="b c"\r\nhello\r\n0\r\n\r\n'),
            b"hello",
        ),
        (
            request("POST", "/", "Transfer-Encoding: chunked", body=b"5;a;b=1;c=2\r\nhello\r\n0\r\n\r\n"),
            b"hello",
        ),
        (request("POST", "/", "Transfer-Encoding: chunked", body=chunked(SMUGGLED)), SMUGGLED),
        (request("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"x" * 70_000)), b"x" * 70_000),
        (request("POST", "/", "Transfer-Encoding: chunked", body=chunked(*[b"y"] * 500)), b"y" * 500),
    ],
    ids=lambda value: (
        repr(value.split(b"\r\n", 2)[-1])[:60] if isinstance(value, bytes) and b"HTTP" in value else ""
    ),
)
def test_bodies(site: Any, port: int, raw: Any, data: bytes, body: bytes) -> None:
    """The body arrives whole, and the connection carries the next request."""
    site.app = echoing()
    client = raw(port)
    client.send(data + request("GET", "/next"))
    assert client.response().body == b"/|" + body
    assert client.response().body == b"/next|"


def test_trailers_are_not_headers(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await body_of(receive)
        seen.put((body, list(scope["headers"])))
        await answer(send)

    site.app = app
    client = raw(port)
    trailers = b"X-Trailer: evil\r\nContent-Length: 3\r\nHost: evil\r\n"
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"abc", trailers=trailers)))
    assert client.response().status == 200
    assert seen.next() == (b"abc", [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")])
    client.send(request())
    client.response()
    assert seen.next() == (b"", [(b"host", b"localhost")])


def test_every_cut_of_a_chunked_body(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    client = raw(port)
    for cut in range(1, len(body)):
        client.send(request("POST", "/", "Transfer-Encoding: chunked", body=body[:cut]))
        client.send(body[cut:])
        assert client.response().body == b"/|abcde"


def test_many_one_byte_chunks_come_in_few_events(site: Any, port: int, raw: Any) -> None:
    """20,000 chunks became 20,001 events in servers before this one."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        events, size = 0, 0
        while True:
            event = await receive()
            events += 1
            size += len(event["body"])
            if not event["more_body"]:
                break
        seen.put((events, size))
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=chunked(*[b"x"] * 20_000)))
    assert client.response().status == 200
    events, size = seen.next()
    assert size == 20_000
    assert events < 200


def test_what_waits_for_the_application_comes_at_once(site: Any, port: int, raw: Any) -> None:
    seen, gate = Seen(), Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put("called")
        await gate.wait()
        event = await receive()
        seen.put(event)
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Content-Length: 30"))
    assert seen.next() == "called"
    for _ in range(30):
        client.send(b"x")
    client.quiet(0.05)
    gate.open()
    event = seen.next()
    assert len(event["body"]) > 1, "buffered pieces are joined"


# Streaming


def test_the_application_is_called_before_the_body_is_complete(site: Any, port: int, raw: Any) -> None:
    """Bodies were buffered whole by servers before this one."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put("called")
        while True:
            event = await receive()
            seen.put((event["type"], event["body"], event["more_body"]))
            if not event["more_body"]:
                break
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Content-Length: 6"))
    assert seen.next() == "called"
    client.send(b"abc")
    assert seen.next() == ("http.request", b"abc", True)
    client.send(b"def")
    kind, body, more = seen.next()
    assert (kind, body) == ("http.request", b"def")
    if more:
        assert seen.next() == ("http.request", b"", False)
    assert client.response().status == 200


def test_a_chunk_arrives_before_the_next_one(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            event = await receive()
            seen.put(event["body"])
            more = event["more_body"]
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
    assert seen.next() == b"abc"
    client.send(b"8\r\nde")
    assert seen.next() == b"de"
    client.send(b"fghijk\r\n0\r\n\r\n")
    assert seen.next() == b"fghijk"
    assert client.response().status == 200


def test_both_directions_stream_at_once(site: Any, port: int, raw: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            event = await receive()
            more = event["more_body"]
            await send({"type": "http.response.body", "body": event["body"].upper(), "more_body": more})

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Content-Length: 4"))
    client.send(b"ab")
    assert client.head().status == 200
    assert client.line() == b"2"
    assert client.line() == b"AB"
    client.send(b"cd")
    assert client.line() == b"2"
    assert client.line() == b"CD"
    assert client.line() == b"0"
    assert client.line() == b""
    client.send(request("POST", "/", body=b"again"))
    assert client.response().body == b"AGAIN"


# 100-continue (RFC 9110 section 10.1.1)

EXPECT = "Expect: 100-continue"


def test_continue_is_sent_when_the_application_reads(site: Any, port: int, raw: Any) -> None:
    seen, gate = Seen(), Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put("called")
        await gate.wait()
        await answer(send, await body_of(receive))

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", EXPECT, "Content-Length: 5"))
    assert seen.next() == "called"
    client.quiet(0.1)
    gate.open()
    assert client.response().status == 100
    client.send(b"hello")
    assert client.response().body == b"hello"
    client.send(request("POST", "/", body=b"next"))
    assert client.response().body == b"next"


def test_continue_once(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("POST", "/", EXPECT, "Transfer-Encoding: chunked"))
    assert client.response().status == 100
    for piece in (b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
        client.send(piece)
    assert client.response().body == b"/|ab"


def test_continue_not_sent_to_http_1_0(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("POST", "/", EXPECT, "Content-Length: 5", version="1.0"))
    client.quiet(0.1)
    client.send(b"hello")
    assert client.response().body == b"/|hello"


def test_continue_case_does_not_matter(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("POST", "/", "expect: 100-Continue", "Content-Length: 1"))
    assert client.response().status == 100
    client.send(b"x")
    assert client.response().body == b"/|x"


def test_continue_may_be_omitted_when_the_body_is_there(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("POST", "/", EXPECT, body=b"hello") + request("GET", "/next"))
    response = client.response()
    if response.status == 100:
        response = client.response()
    assert response.body == b"/|hello"
    assert client.response().body == b"/next|"


def test_continue_without_a_body(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("GET", "/", EXPECT))
    response = client.response()
    if response.status == 100:
        response = client.response()
    assert response.body == b"/|"


def test_no_continue_when_the_application_answers_without_reading(site: Any, port: int, raw: Any) -> None:
    """Then the client may leave its body out or send it: neither may be read as a request."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await answer(send, b"no", 403)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", EXPECT, f"Content-Length: {len(SMUGGLED)}"))
    response = client.response()
    assert (response.status, response.body) == (403, b"no")
    assert seen.next() == "/"
    try:
        client.send(SMUGGLED + request("GET", "/next"))
        response = client.response()
    except (Closed, Reset, OSError):
        seen.nothing()
    else:
        assert response.status == 403
        assert seen.next() == "/next"


def test_unknown_expectation(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("GET", "/", "Expect: the-unexpected"))
    assert client.response().status in (200, 417)


# A body that the application does not read


@pytest.mark.parametrize("size", [1, 1000, 60_000])
def test_an_unread_body_is_not_the_next_request(site: Any, port: int, raw: Any, size: int) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(
        request("POST", "/", body=(SMUGGLED * (size // len(SMUGGLED) + 1))[:size]) + request("GET", "/next")
    )
    assert client.response().status == 200
    assert seen.next() == "/"
    try:
        response = client.response()
    except Closed:
        seen.nothing()
    else:
        assert response.status == 200
        assert seen.next() == "/next"


def test_answer_before_the_body_arrives(site: Any, port: int, raw: Any) -> None:
    """The answer is not held back, and the late body is not taken for a request."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await answer(send, b"no", 413)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", f"Content-Length: {len(SMUGGLED)}"))
    assert client.response().status == 413
    assert seen.next() == "/"
    try:
        client.send(SMUGGLED)
        client.send(request("GET", "/next"))
        assert client.response().status == 413
        assert seen.next() == "/next"
    except (Closed, Reset, OSError):
        seen.nothing()


def test_an_endless_unread_body_ends_the_connection(serve: Any, raw: Any) -> None:
    """Nobody can make the server read for ever behind an answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 413)

    client = raw(serve(app, limits={"linger_timeout_s": 0.3, "body_timeout_s": 0.3}).port)
    client.send(request("POST", "/", "Content-Length: 1000000000000"))
    assert client.response().status == 413
    assert client.send_until_blocked(b"x" * 65536, quiet_s=2.0, most=1 << 30) < 1 << 30


# Pipelining (RFC 9112 section 9.3.2)


def test_pipelined_answers_keep_their_order(site: Any, port: int, raw: Any) -> None:
    gates = {f"/{n}": Gate() for n in range(3)}
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await gates[scope["path"]].wait()
        await answer(send, scope["path"].encode())

    site.app = app
    client = raw(port)
    client.send(b"".join(request("GET", f"/{n}") for n in range(3)))
    for n in (2, 1, 0):
        gates[f"/{n}"].open()
    for n in range(3):
        assert client.response().body == b"/%d" % n


def test_many_pipelined_requests(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(b"".join(request("POST", f"/{n}", body=b"b%d" % n) for n in range(300)))
    for n in range(300):
        assert client.response().body == b"/%d|b%d" % (n, n)


def test_pipelined_mixed(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(
        request("GET", "/1")
        + request("POST", "/2", "Transfer-Encoding: chunked", body=chunked(b"ab"))
        + request("HEAD", "/3")
        + request("POST", "/4", body=b"cd")
        + request("OPTIONS", "*")
    )
    assert client.response().body == b"/1|"
    assert client.response().body == b"/2|ab"
    assert client.response("HEAD").one(b"content-length") == b"3"
    assert client.response().body == b"/4|cd"
    assert client.response().body == b"*|"


@pytest.mark.parametrize(
    "bad",
    [
        b"BROKEN\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\x00\x00\x00\x00\r\n\r\n",
    ],
    ids=["garbage", "no-host", "two-hosts", "bad-length", "cl-te", "414", "version", "zeros"],
)
def test_a_bad_second_request_does_not_eat_the_first_answer(
    site: Any, port: int, raw: Any, bad: bytes
) -> None:
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(request("GET", "/first") + bad)
    response = client.response()
    assert (response.status, response.body) == (200, b"/first|")
    assert client.response().status in (400, 414, 505)
    client.closed()
    assert seen.next() == "/first"
    seen.nothing()


def test_a_bad_second_request_behind_a_slow_first(site: Any, port: int, raw: Any) -> None:
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await gate.wait()
        await send({"type": "http.response.body", "body": b"two"})

    site.app = app
    client = raw(port)
    client.send(request("GET", "/first") + b"BROKEN\r\n\r\n")
    assert client.head().status == 200
    assert client.line() == b"3"
    assert client.line() == b"one"
    gate.open()
    assert client.line() == b"3"
    assert client.line() == b"two"
    assert (client.line(), client.line()) == (b"0", b"")
    assert client.response().status == 400
    client.closed()


def test_bytes_behind_connection_close_are_ignored(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(request("GET", "/last", "Connection: close") + request("GET", "/smuggled"))
    response = client.response()
    assert (response.status, response.body) == (200, b"/last|")
    assert response.closes
    client.closed()
    assert seen.next() == "/last"
    seen.nothing()


@pytest.mark.parametrize("garbage", [b"garbage\r\n\r\n", b"\x00" * 100, b"x" * 100_000])
def test_garbage_behind_connection_close_is_ignored(site: Any, port: int, raw: Any, garbage: bytes) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("GET", "/last", "Connection: close") + garbage)
    assert client.response().body == b"/last|"
    client.closed()


def test_a_slow_pipelined_body(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(request("GET", "/1") + request("POST", "/2", "Content-Length: 4") + b"ab")
    assert client.response().body == b"/1|"
    client.send(b"cd" + request("GET", "/3"))
    assert client.response().body == b"/2|abcd"
    assert client.response().body == b"/3|"


# Content-Length and Transfer-Encoding that contradict themselves or each other


def refused(site: Any, port: int, raw: Any, head: bytes, body: bytes = b"", statuses: Any = (400,)) -> None:
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + body + SMUGGLED)
    response = client.response()
    assert response.status in statuses
    assert response.closes
    client.closed()
    seen.nothing()


@pytest.mark.parametrize(
    "length",
    [
        b"+5",
        b"-5",
        b"-0",
        b"5,6",
        b"5, 6",
        b"5;",
        b"5 5",
        b"0x5",
        b"5a",
        b"a",
        b"",
        b"  ",
        b"5.0",
        b"1e1",
        b"5_0",
        b"\xb2",
        b"\xd9\xa5",
        b"99999999999999999999",
        b"18446744073709551616",
        b"18446744073709551621",
        b",5",
        b"5,",
        b"'5'",
    ],
    ids=repr,
)
def test_bad_content_length(site: Any, port: int, raw: Any, length: bytes) -> None:
    refused(site, port, raw, b"Content-Length: " + length, b"hello", (400, 413))


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 6\r\nContent-Length: 5",
        b"Content-Length: 5\r\nX: 1\r\ncontent-length: 0",
        b"Content-Length: 5\r\nContent-Length: ",
        b"Content-Length: 5\r\nContent-Length: 5, 6",
    ],
    ids=repr,
)
def test_contradicting_content_lengths(site: Any, port: int, raw: Any, lines: bytes) -> None:
    refused(site, port, raw, lines, b"hello")


def test_equal_content_lengths(site: Any, port: int, raw: Any) -> None:
    """RFC 9112 section 6.3 lets a server take or refuse them; never read two ways."""
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
    response = client.response()
    assert response.status in (200, 400)
    assert response.status == 400 or response.body == b"/|hello"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0",
        b"Content-Length: 0\r\nX: 1\r\nTRANSFER-ENCODING: CHUNKED",
        b"Content-Length: 5\r\nTransfer-Encoding: identity",
        b"Content-Length: 5\r\nTransfer-Encoding: xchunked",
        b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked",
        b"Content-Length: 5\r\nTransfer-Encoding:\tchunked",
    ],
    ids=repr,
)
def test_length_and_coding_together(site: Any, port: int, raw: Any, lines: bytes) -> None:
    refused(site, port, raw, lines, b"0\r\n\r\n", (400, 501))


@pytest.mark.parametrize(
    "coding",
    [
        b"xchunked",
        b"chunkedx",
        b"chunked, identity",
        b"identity, chunked",
        b"identity",
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
        b"chunked, chunked",
        b"chunked;q=1",
        b"\x0bchunked",
        b"chunked\x00",
        b"'chunked'",
        b'"chunked"',
        b"chu\tnked",
        b"chunked chunked",
        b"cow",
        b"\xffchunked",
    ],
    ids=repr,
)
def test_unknown_transfer_codings(site: Any, port: int, raw: Any, coding: bytes) -> None:
    refused(site, port, raw, b"Transfer-Encoding: " + coding, b"0\r\n\r\n", (400, 501))


@pytest.mark.parametrize("coding", [b"", b",chunked", b"chunked,", b", chunked ,"], ids=repr)
def test_empty_transfer_coding_elements(site: Any, port: int, raw: Any, coding: bytes) -> None:
    """Empty list elements may be ignored (RFC 9110 section 5.6.1), but never read as "no body"."""
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    response = client.response()
    assert response.status in (400, 501) or response.body == b"/|hello"


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: x\r\ntransfer-encoding: chunked",
        b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked",
        b"Transfer-Encoding\x00: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Content-Length: 5\r\n 0",
    ],
    ids=repr,
)
def test_disguised_transfer_codings(site: Any, port: int, raw: Any, lines: bytes) -> None:
    refused(site, port, raw, lines, b"0\r\n\r\n", (400, 501))


def test_transfer_encoding_with_underscore_is_nothing(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(request("POST", "/", "Transfer_Encoding: chunked", body=b"hello"))
    response = client.response()
    assert response.status == 400 or response.body == b"/|hello"


@pytest.mark.parametrize("more", ["", "Connection: keep-alive"])
def test_transfer_encoding_in_http_1_0_ends_the_connection(site: Any, port: int, raw: Any, more: str) -> None:
    """RFC 9112 section 6.1: faulty framing; answer and close."""
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    headers = ["Transfer-Encoding: chunked", *([more] if more else [])]
    client.send(
        request("POST", "/", *headers, body=chunked(b"hello"), version="1.0") + request("GET", "/smuggled")
    )
    response = client.response()
    assert response.status == 400 or response.body == b"/|hello"
    client.closed()
    assert response.status == 400 or seen.next() == "/"
    seen.nothing()


@pytest.mark.parametrize(
    "body",
    [
        b"5x\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\rhello\r0\r\r",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5,\r\nhello\r\n0\r\n\r\n",
        b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        b"5\r\nhello\r\n0\r\n folded: y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\n\r\n\r\n",
        b"5\r\nhello\r\n0\n\n",
        b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    ],
    ids=repr,
)
def test_bad_chunks(site: Any, port: int, raw: Any, body: bytes) -> None:
    """The application that reads is told of the end; the client gets 400 (not 500) and the connection closes."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        while True:
            event = await receive()
            if event["type"] == "http.disconnect" or not event["more_body"]:
                break
        seen.put(event["type"])
        if event["type"] == "http.request":
            await answer(send)

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=body) + SMUGGLED)
    assert client.response().status == 400
    client.closed()
    told = seen.until_quiet(0.05)
    assert told in ([], ["/", "http.disconnect"]), told


def test_a_bad_chunk_while_the_response_streams(site: Any, port: int, raw: Any) -> None:
    """No second status line in the middle of a response: the connection just ends."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        seen.put("disconnected")

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n"))
    assert client.head().status == 200
    assert (client.line(), client.line()) == (b"5", b"first")
    client.send(b"zz\r\n")
    assert seen.next() == "disconnected"
    with pytest.raises((Closed, Reset)):
        client.line()
    assert client.buffer == b""


def test_content_length_ends_the_body_exactly(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(request("POST", "/a", "Content-Length: 3", body=b"abcGET /b HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert client.response().body == b"/a|abc"
    assert client.response().body == b"/b|"


# Keep-alive (RFC 9112 section 9.3)


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.1", "keep-alive, close", False),
        ("1.1", "close, keep-alive", False),
        ("1.1", "foo, close ,bar", False),
        ("1.1", "closed", True),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive", True),
        ("1.0", "foo, keep-alive", True),
        ("1.0", "close", False),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_keep_alive(
    site: Any, port: int, raw: Any, version: str, connection: str | None, stays: bool
) -> None:
    site.app = answering(b"ok")
    client = raw(port)
    headers = [] if connection is None else [f"Connection: {connection}"]
    client.send(request("GET", "/", *headers, version=version))
    response = client.response()
    assert response.body == b"ok"
    if not stays:
        assert response.closes or version == "1.0"
        client.closed()
        return
    assert not response.closes
    if version == "1.0":
        assert response.one(b"connection").lower() == b"keep-alive"
    client.send(request("GET", "/", "Connection: close"))
    assert client.response().body == b"ok"
    client.closed()


def test_several_connection_headers(site: Any, port: int, raw: Any) -> None:
    site.app = answering(b"ok")
    client = raw(port)
    client.send(request("GET", "/", "Connection: foo", "Connection: close"))
    assert client.response().closes
    client.closed()


# Half-close


def test_half_close_still_gets_the_response(site: Any, port: int, raw: Any) -> None:
    gate = Gate()
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body_of(receive)
        seen.put("read")
        await gate.wait()
        await answer(send, b"late")

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", body=b"x"))
    client.finish()
    assert seen.next() == "read"
    client.quiet(0.1)
    gate.open()
    assert client.response().body == b"late"
    client.closed()


def test_half_close_answers_every_pipelined_request(site: Any, port: int, raw: Any) -> None:
    site.app = echoing()
    client = raw(port)
    client.send(b"".join(request("GET", f"/{n}") for n in range(5)))
    client.finish()
    for n in range(5):
        assert client.response().body == b"/%d|" % n
    client.closed()


def test_half_close_in_the_head(site: Any, port: int, raw: Any) -> None:
    seen = Seen()
    site.app = echoing(seen)
    client = raw(port)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    client.finish()
    rest = client.rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    seen.nothing()


@pytest.mark.parametrize("headers", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_half_close_in_the_body(site: Any, port: int, raw: Any, headers: str) -> None:
    """A cut body is never taken for a whole one."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            event = await receive()
            seen.put(event["type"])
            if event["type"] == "http.disconnect" or not event["more_body"]:
                seen.put("complete" if event["type"] == "http.request" else "cut")
                return

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", headers, body=b"3\r\nabc"))
    client.finish()
    client.gone()
    told = seen.until_quiet(0.1)
    assert "complete" not in told
    assert told[-1] == "cut"


def test_an_idle_connection_that_ends_is_closed(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.finish()
    client.closed()


def test_upgrade_to_an_unknown_protocol_is_ignored(site: Any, port: int, raw: Any) -> None:
    """RFC 9110 section 7.8."""
    site.app = echoing()
    client = raw(port)
    client.send(request("POST", "/u", "Connection: upgrade", "Upgrade: h2c, foo/2", body=b"b"))
    assert client.response().body == b"/u|b"
    client.send(request("GET", "/next"))
    assert client.response().body == b"/next|"
