"""Limits and time-outs: a readable answer that arrives, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import select
import time
from typing import Any

import pytest

from raceway.wire.limits import Limits
from tests.server.rawhttp import RawClient, chunked, request
from tests.server.running import Gate, Running, Seen, Site, answer, answering, running

LIMITS = {
    "request_line_bytes": 1000,
    "header_bytes": 4000,
    "header_count": 20,
    "chunk_line_bytes": 200,
    "first_byte_timeout_s": 0.3,
    "header_timeout_s": 0.4,
    "body_timeout_s": 0.3,
    "keep_alive_timeout_s": 0.4,
    "linger_timeout_s": 2.0,
    "half_close_timeout_s": 0.3,
    "write_timeout_s": 0.5,
}
LATE_S = 2.0  # no time-out here may take longer


@pytest.fixture(scope="module")
def strict() -> Any:
    """One server with small limits for the whole module."""
    site = Site()
    with running(site, limits=Limits(**LIMITS)) as server:
        yield server, site


@pytest.fixture
def site(strict: Any) -> Any:
    strict[1].app = answering()
    return strict[1]


@pytest.fixture
def port(strict: Any) -> int:
    return strict[0].port


# Sizes

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 900 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 1100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 1100, 414),
        (b"G" * 1100, 400),
        (HEAD + b"X: " + b"a" * 3000 + b"\r\n\r\n", 200),
        (HEAD + b"X: " + b"a" * 4100 + b"\r\n\r\n", 431),
        (HEAD + b"X: " + b"a" * 4100, 431),
        (HEAD + b"X" * 4100 + b": a\r\n\r\n", 431),
        (HEAD + b"X" * 4100, 431),
        (HEAD + b"X: a\r\n" * 18 + b"\r\n", 200),
        (HEAD + b"X: a\r\n" * 21 + b"\r\n", 431),
        (HEAD + b"X: a\r\n" * 21, 431),
        (HEAD + b"X_Y: a\r\n" * 30 + b"\r\n", 431),
        (HEAD + b"X: " + b"a" * 300_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: " + b"a" * 500 + b"\r\n" + b"Y: " + b"b" * 3700 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: " + b"a" * 4100 + b"\r\n\r\n", 431),
        (HEAD + b"Cookie: " + b"a" * 4100 + b"\r\n\r\n", 431),
        (HEAD + b"Content-Length: " + b"0" * 4100 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: repr(value)[:24] + f"...{len(value)}" if isinstance(value, bytes) else str(value),
)
def test_head_sizes(site: Any, port: int, raw: Any, data: bytes, status: int) -> None:
    client = raw(port)
    client.send(data)
    response = client.response()
    allowed = {status, 414, 501} if data.startswith(b"GGG") else {status}
    assert response.status in allowed
    if status != 200:
        assert response.closes
        assert response.body, "the reason is readable"
        client.closed()


@pytest.mark.parametrize("first", [b"GET /", HEAD + b"X: "], ids=["request-line", "header"])
@pytest.mark.parametrize("total", [1 << 20, 4 << 20])
def test_the_refusal_arrives_although_the_client_still_sends(
    site: Any, port: int, raw: Any, first: bytes, total: int
) -> None:
    """Closing a socket with unread bytes resets it, and the answer is lost; so the server reads on a little."""
    client = raw(port)
    client.send(first)
    client.send(b"a" * total)
    response = client.response()
    assert response.status in (414, 431)
    client.finish()
    client.closed()


def test_an_endless_header_is_cut_off(site: Any, port: int, raw: Any) -> None:
    """32 MB of header were taken by servers before this one; and no client can linger for ever."""
    client = raw(port)
    client.send(HEAD + b"X: ")
    sent = client.send_until_blocked(b"a" * 65536, quiet_s=1.0, most=16 << 30)
    assert sent < 16 << 30


def test_limits_count_per_request(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    for _ in range(4):
        client.send(HEAD + b"X: " + b"a" * 3000 + b"\r\n\r\n")
        assert client.response().status == 200


def test_limits_hold_for_a_pipelined_request(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request() + HEAD + b"X: " + b"a" * 5000 + b"\r\n\r\n")
    assert client.response().status == 200
    assert client.response().status == 431
    client.closed()


@pytest.mark.parametrize("extension", [b";" + b"a" * 5000, b";a=" + b'"' + b"b" * 5000 + b'"', b";x" * 3000])
def test_chunk_extensions_are_bounded(site: Any, port: int, raw: Any, extension: bytes) -> None:
    client = raw(port)
    client.send(
        request("POST", "/", "Transfer-Encoding: chunked", body=b"1" + extension + b"\r\nx\r\n0\r\n\r\n")
    )
    assert client.response().status in (400, 413)
    client.closed()


def test_an_endless_chunk_extension_is_cut_off(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked") + b"1;")
    client.send(b"a" * 300_000)
    assert client.response().status in (400, 413)


def test_many_chunk_extensions_are_fine(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(
        request("POST", "/", "Transfer-Encoding: chunked", body=b"1;a=b\r\nx\r\n" * 2000 + b"0\r\n\r\n")
    )
    assert client.response().status == 200


def test_leading_zeros_of_a_chunk_size_are_bounded(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked") + b"0" * 300_000)
    assert client.response().status in (400, 413)


@pytest.mark.parametrize(
    "trailers", [b"X: " + b"a" * 5000 + b"\r\n", b"X: a\r\n" * 500], ids=["long", "many"]
)
def test_trailers_are_bounded(site: Any, port: int, raw: Any, trailers: bytes) -> None:
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"x", trailers=trailers)))
    assert client.response().status in (400, 413, 431)
    client.closed()


def test_endless_trailers_are_cut_off(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=b"0\r\n"))
    client.send(b"X: y\r\n" * 50_000)
    assert client.response().status in (400, 413, 431)


def test_endless_blank_lines_are_not_a_request(site: Any, port: int, raw: Any) -> None:
    """Skipping empty lines is bounded by size or by the header time-out."""
    client = raw(port)
    sent = client.send_until_blocked(b"\r\n" * 10_000, quiet_s=1.0, most=4 << 30)
    assert sent < 4 << 30


# Time


def drip(client: RawClient, data: bytes, every_s: float) -> tuple[bytes, float]:
    """Send byte by byte until the server says something or all is sent; what it said, and when."""
    began = time.monotonic()
    for byte in data:
        if select.select([client.socket], [], [], every_s)[0]:
            break
        try:
            client.send(bytes([byte]))
        except OSError:
            break
    return client.rest(), time.monotonic() - began


def test_the_header_timeout_is_absolute(site: Any, port: int, raw: Any) -> None:
    """Slowloris: one byte per 50 ms never extends it."""
    said, took_s = drip(raw(port), b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaaaaaaaaaa\r\n" * 10, 0.05)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert took_s < LATE_S


def test_the_header_timeout_of_the_second_request_is_absolute(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request())
    assert client.response().status == 200
    said, took_s = drip(client, b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaaaaaaaaaa\r\n" * 10, 0.05)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert took_s < LATE_S


def test_a_head_that_stops(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(b"GET / HTTP/1.1\r\nHost: lo")
    began = time.monotonic()
    assert client.response().status == 408
    client.closed()
    assert 0.2 < time.monotonic() - began < LATE_S


def test_a_head_within_the_timeout_is_served(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    data = request()
    for piece in (data[:10], data[10:20], data[20:]):
        client.quiet(0.05)
        client.send(piece)
    assert client.response().status == 200


def test_the_first_byte_timeout(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    began = time.monotonic()
    rest = client.rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    assert 0.1 < time.monotonic() - began < LATE_S


def test_the_keep_alive_timeout(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request())
    assert client.response().status == 200
    began = time.monotonic()
    client.closed()
    assert 0.1 < time.monotonic() - began < LATE_S


def test_each_request_renews_the_keep_alive(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        client.send(request())
        assert client.response().status == 200
        client.quiet(0.15)


def test_a_slow_application_is_not_idle(site: Any, port: int, raw: Any) -> None:
    """No time-out of the client's runs while the client waits for us."""
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await answer(send, b"late")

    site.app = app
    client = raw(port)
    client.send(request())
    client.quiet(1.0)
    gate.open()
    assert client.response().body == b"late"


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_stalled_body(site: Any, port: int, raw: Any, framing: str) -> None:
    """Stalled bodies were held for ever by servers before this one: 408, and the application is told."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (event := await receive())["type"] == "http.request":
            seen.put(event["body"])
        seen.put(event["type"])

    site.app = app
    client = raw(port)
    client.send(request("POST", "/", framing, body=b"3\r\nabc"))
    began = time.monotonic()
    assert client.response().status == 408
    client.closed()
    assert 0.1 < time.monotonic() - began < LATE_S
    assert seen.next()
    assert seen.next() == "http.disconnect"


def test_a_slow_but_steady_body_is_served(site: Any, port: int, raw: Any) -> None:
    client = raw(port)
    client.send(request("POST", "/", "Content-Length: 8"))
    for _ in range(8):
        client.quiet(0.1)
        client.send(b"x")
    assert client.response().status == 200


def test_the_body_timeout_does_not_run_while_the_application_is_behind(
    site: Any, port: int, raw: Any
) -> None:
    """The pause is ours, not the client's."""
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        size = 0
        while True:
            event = await receive()
            if event["type"] != "http.request":
                seen.put(event["type"])
                return
            size += len(event["body"])
            if not event["more_body"]:
                break
        seen.put(size)
        await answer(send)

    site.app = app
    client = raw(port, send_buffer=262144)
    total = 24 << 20
    client.send(request("POST", "/", f"Content-Length: {total}"))
    sent = client.send_until_blocked(b"x" * 65536, quiet_s=1.0, most=total)
    assert sent < total
    gate.open()
    client.send(b"x" * (total - sent))
    assert seen.next() == total
    assert client.response().status == 200


def test_a_client_that_takes_nothing_is_dropped(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except OSError as exc:
            seen.put(exc)
            raise

    site.app = app
    client = raw(port, receive_buffer=4096)
    client.send(request())
    assert isinstance(seen.next(), OSError)


def test_a_slow_reader_that_takes_something_is_kept(site: Any, port: int, raw: Any) -> None:
    total = 24 << 20
    site.app = answering(b"x" * total)
    client = raw(port)
    client.send(request())
    assert client.head().status == 200
    size = len(client.buffer)
    began = time.monotonic()
    while size < total:
        burst = 2 << 20 if time.monotonic() - began < 1.5 else total  # three times write_timeout_s
        while burst > 0 and size < total:
            data = client.socket.recv(min(burst, 1 << 20))
            assert data, f"cut off after {size} bytes"
            size, burst = size + len(data), burst - len(data)
        select.select([], [], [], 0.15)


@pytest.mark.parametrize("before", [b"", request("GET", "/quick") * 2], ids=["alone", "pipelined"])
@pytest.mark.parametrize("started", [False, True], ids=["unanswered", "half-answered"])
def test_a_half_closed_client_without_an_answer_counts_as_gone(
    site: Any, port: int, raw: Any, before: bytes, started: bool
) -> None:
    """FIN is all that a close looks like; who sends nothing more and gets nothing is gone, and is let go."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/quick":
            await answer(send)
            return
        await receive()
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        seen.put((await receive())["type"])

    site.app = app
    client = raw(port)
    client.send(before + request())
    client.finish()
    began = time.monotonic()
    assert seen.next() == "http.disconnect"
    client.gone()
    assert time.monotonic() - began < LATE_S


def test_a_half_closed_client_that_is_sent_something_is_not_gone(site: Any, port: int, raw: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(6):  # twice half_close_timeout_s
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"y"})

    site.app = app
    client = raw(port)
    client.send(request() + request())
    client.finish()
    assert client.response().body == b"xxxxxxy"
    assert client.response().body == b"xxxxxxy"
    client.closed()


def test_linger_is_bounded(site: Any, port: int, raw: Any) -> None:
    """A refused client that keeps the connection open is cut after the linger time."""
    client = raw(port)
    client.send(b"BROKEN\r\n\r\n")
    assert client.response().status == 400
    began = time.monotonic()
    client.gone()
    sent = client.send_until_blocked(b"a", quiet_s=1.0, most=1 << 20)
    assert sent < 1 << 20
    assert time.monotonic() - began < 4.5


# Counts


def test_the_number_of_connections_is_limited(serve: Any, raw: Any) -> None:
    server: Running = serve(answering(), limits={"connections": 3})
    clients = [raw(server.port) for _ in range(3)]
    for client in clients:
        client.send(request())
        assert client.response().status == 200
    fourth = raw(server.port)
    fourth.send(request())
    assert not select.select([fourth.socket], [], [], 0.3)[0] or fourth.rest()[:12] in (b"", b"HTTP/1.1 503")
    clients[0].close()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:  # until the server has noticed
        later = raw(server.port)
        later.send(request())
        if later.response().status == 200:
            return
    pytest.fail("a free place was never given")


def test_loopback_has_no_limit_per_address(serve: Any, raw: Any) -> None:
    server = serve(answering(), limits={"connections_per_address": 2})
    clients = [raw(server.port) for _ in range(5)]
    for client in clients:
        client.send(request())
        assert client.response().status == 200
