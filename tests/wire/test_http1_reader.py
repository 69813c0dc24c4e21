"""Bytes in, events out: RFC 9112 with the server's own limits."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from raceway.wire.events import Body, End, Request, Violation
from raceway.wire.http1 import Http1Reader
from raceway.wire.limits import Limits
from tests.wire.http1_corpus import (
    INVALID,
    INVALID_BODIES,
    LIMITS,
    POST,
    VALID,
    Told,
    chunked,
    head,
    read,
    told,
)


def only(data: bytes) -> Request:
    [request] = read(data)
    assert isinstance(request, Request)
    return request


@pytest.mark.parametrize(("data", "expected"), VALID.values(), ids=VALID)
def test_valid(data: bytes, expected: list[Told]) -> None:
    assert told(read(data)) == expected


@pytest.mark.parametrize(("data", "status"), INVALID.values(), ids=INVALID)
def test_invalid_head(data: bytes, status: int) -> None:
    assert told(read(data)) == [status]


@pytest.mark.parametrize(("data", "status"), INVALID.values(), ids=INVALID)
def test_invalid_head_after_a_valid_request(data: bytes, status: int) -> None:
    assert told(read(head() + data)) == ["GET /", status]


@pytest.mark.parametrize(("data", "expected"), INVALID_BODIES.values(), ids=INVALID_BODIES)
def test_invalid_body(data: bytes, expected: list[Told]) -> None:
    assert told(read(data)) == expected


@pytest.mark.parametrize("data", [data for data, _ in INVALID.values()], ids=INVALID)
def test_nothing_follows_a_violation(data: bytes) -> None:
    reader = Http1Reader(LIMITS)
    events = reader.receive_data(data)
    assert isinstance(events[-1], Violation)
    assert reader.receive_data(head()) == []
    assert reader.receive_data(data) == []
    assert reader.resume() == []
    assert reader.take_rest() == b""
    assert reader.receive_eof() == []
    assert not reader.idle


# What is in a request


def test_request() -> None:
    request = only(head(b"User-Agent:  x y ", b"x-A: 1", b"X-a: 2\t", start=b"GET /a%20b/%2F?q=%20 HTTP/1.1"))
    assert request.method == "GET"
    assert request.path == "/a b//"
    assert request.raw_path == b"/a%20b/%2F"
    assert request.query_string == b"q=%20"
    assert request.http_version == "1.1"
    assert request.headers == [(b"host", b"a"), (b"user-agent", b"x y"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert request.keep_alive
    assert request.ends_here
    assert not request.expects_continue
    assert request.upgrade is None


def test_higher_minor_version_is_reported_as_ours() -> None:
    assert only(head(start=b"GET / HTTP/1.7")).http_version == "1.1"


@pytest.mark.parametrize(
    ("start", "host", "expected"),
    [
        (b"GET http://b:81/ HTTP/1.1", b"Host: a", [(b"host", b"b:81"), (b"x", b"y")]),
        (b"GET http://b/ HTTP/1.0", b"", [(b"host", b"b"), (b"x", b"y")]),
    ],
)
def test_authority_of_an_absolute_target_is_the_host(
    start: bytes, host: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert only(head(b"X: y", start=start, host=host)).headers == expected


def test_absolute_target_leaves_only_path_and_query() -> None:
    request = only(head(start=b"GET http://b:81/a%20b?c HTTP/1.1"))
    assert (request.raw_path, request.path, request.query_string) == (b"/a%20b", "/a b", b"c")


def test_every_path_can_be_encoded_and_logged() -> None:
    for byte in range(256):
        path = only(head(start=b"GET /%%%02X%%C3 HTTP/1.1" % byte)).path
        assert path.encode().decode() == path
    assert only(head(start=b"GET /%ED%A0%80 HTTP/1.1")).path == "/%ED%A0%80"  # a surrogate in UTF-8's form
    assert only(head(start=b"GET /%C3%A9%FF HTTP/1.1")).path == "/é%FF"


def test_common_field_names_share_one_object() -> None:
    one = only(head(b"User-Agent: x", b"accept: y")).headers
    two = only(head(b"user-agent: x", b"Accept: y")).headers
    for (first, _), (second, _) in zip(one, two, strict=True):
        assert first is second


def test_names_with_an_underscore_are_dropped() -> None:
    request = only(
        head(b"X_User: admin", b"X-User: me", b"_: a", b"Content_Length: 5", b"transfer_encoding: chunked")
    )
    assert request.headers == [(b"host", b"a"), (b"x-user", b"me")]
    assert request.ends_here


def test_trailers_are_not_headers() -> None:
    events = read(chunked(b"1\r\nx\r\n0\r\nX-Trailer: 1\r\nCookie: admin\r\n\r\n"))
    assert isinstance(events[0], Request)
    assert events[0].headers == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    assert [type(event) for event in events] == [Request, Body, End]


# Bodies


def test_body_bytes_of_one_read_are_one_event() -> None:
    events = read(chunked(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"))
    assert [type(event) for event in events] == [Request, Body, End]
    assert isinstance(events[1], Body)
    assert events[1].data == b"x" * 20_000


def test_body_of_each_read_comes_at_once() -> None:
    reader = Http1Reader(LIMITS)
    assert told(reader.receive_data(head(b"Content-Length: 6", start=POST))) == ["POST / body"]
    assert told(reader.receive_data(b"abc")) == [b"abc"]
    assert told(reader.receive_data(b"def" + head())) == [b"def", "end", "GET /"]


def test_chunk_data_does_not_wait_for_the_end_of_its_chunk() -> None:
    reader = Http1Reader(LIMITS)
    assert told(reader.receive_data(chunked(b"ffffff\r\nabc"))) == ["POST / body", b"abc"]
    assert told(reader.receive_data(b"def")) == [b"def"]


def test_two_bodies_in_one_read_are_two_events() -> None:
    post = head(b"Content-Length: 1", start=POST) + b"x"
    assert [type(event) for event in read(post + post)] == [Request, Body, End] * 2


# The connection's view


def test_idle() -> None:
    reader = Http1Reader(LIMITS)
    assert reader.idle
    reader.receive_data(b"\r\n")
    assert reader.idle
    reader.receive_data(b"G")
    assert not reader.idle
    reader.receive_data(head(b"Content-Length: 2", start=b"ET / HTTP/1.1") + b"x")
    assert not reader.idle
    reader.receive_data(b"x")
    assert reader.idle
    reader.receive_data(head(b"Connection: close"))
    assert not reader.idle


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"\r", head(), head() + b"\r\n", head(b"Connection: close") + b"G", chunked(b"0\r\n\r\n")],
)
def test_end_between_messages(data: bytes) -> None:
    reader = Http1Reader(LIMITS)
    reader.receive_data(data)
    assert reader.receive_eof() == []
    assert reader.receive_data(head()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        head()[:-1],
        head() + b"GET",
        head(b"Content-Length: 2") + b"x",
        head(b"Content-Length: 2"),
        chunked(b""),
        chunked(b"5"),
        chunked(b"1\r\nx"),
        chunked(b"1\r\nx\r\n"),
        chunked(b"0\r\n"),
        chunked(b"0\r\nX: y\r\n"),
    ],
)
def test_end_within_a_message(data: bytes) -> None:
    reader = Http1Reader(LIMITS)
    reader.receive_data(data)
    assert told(reader.receive_eof()) == [400]
    assert reader.receive_eof() == []


# Stops

UPGRADE = head(b"Connection: Upgrade", b"Upgrade: websocket")


def test_upgrade_keeps_what_follows() -> None:
    reader = Http1Reader(LIMITS)
    assert told(reader.receive_data(UPGRADE + b"\x81\x80ab")) == ["GET / upgrade"]
    assert reader.stopped
    assert not reader.idle
    assert reader.receive_data(b"cd") == []
    assert reader.receive_eof() == []
    assert reader.take_rest() == b"\x81\x80abcd"
    assert not reader.stopped
    assert reader.take_rest() == b""
    assert reader.receive_data(head()) == []


def test_declined_upgrade_goes_on() -> None:
    reader = Http1Reader(LIMITS)
    reader.receive_data(UPGRADE + head() + b"GET /2")
    assert reader.receive_data(b" HTTP/1.1\r\nHost: a\r\n\r\n") == []
    assert told(reader.resume()) == ["GET /", "GET /2"]
    assert reader.idle
    assert told(reader.receive_data(head())) == ["GET /"]
    assert reader.resume() == []


def test_declined_upgrade_of_the_last_request() -> None:
    reader = Http1Reader(LIMITS)
    reader.receive_data(head(b"Connection: upgrade, close", b"Upgrade: websocket") + head())
    assert reader.resume() == []
    assert not reader.stopped


def test_declined_upgrade_before_a_bad_request() -> None:
    reader = Http1Reader(LIMITS)
    reader.receive_data(UPGRADE + b"\x81\x80")
    assert told(reader.resume()) == [400]


def test_pipelined_requests_are_taken_apart_in_portions() -> None:
    reader = Http1Reader(LIMITS)
    post = head(b"Content-Length: 1", start=POST) + b"x"
    assert told(reader.receive_data(post * 20)) == ["POST / body", b"x", "end"] * 8
    assert reader.stopped
    assert reader.receive_data(post) == []
    assert told(reader.resume()) == ["POST / body", b"x", "end"] * 8
    assert reader.stopped
    assert told(reader.resume()) == ["POST / body", b"x", "end"] * 5
    assert not reader.stopped
    assert reader.idle


def test_exactly_a_portion_does_not_stop() -> None:
    reader = Http1Reader(LIMITS)
    assert told(reader.receive_data(head() * 8)) == ["GET /"] * 8
    assert not reader.stopped
    assert reader.idle


def test_bad_request_behind_a_portion() -> None:
    reader = Http1Reader(LIMITS)
    assert told(reader.receive_data(head() * 8 + b"\0")) == ["GET /"] * 8
    assert told(reader.resume()) == [400]


# What a client can make us hold


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"A" * 1000),
        (b"GET / HTTP/1.1\r\n", b"A" * 1000),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 100),
        (b"", b"\r\n" * 100),
        (chunked(b"0\r\n"), b"A: b\r\n" * 100),
        (chunked(b"0\r\n"), b"A" * 1000),
        (chunked(b"1;"), b"A" * 1000),
        (chunked(b""), b"0" * 1000),
    ],
)
def test_endless_sections_are_refused_early(start: bytes, more: bytes) -> None:
    reader = Http1Reader(Limits())
    events = reader.receive_data(start)
    fed = 0
    while not events or not isinstance(events[-1], Violation):
        assert fed < 64 * 1024
        events = reader.receive_data(more)
        fed += len(more)


def test_body_bytes_are_not_held() -> None:
    for start, piece in (
        (head(b"Content-Length: 999999999", start=POST), b"x" * 10_000),
        (chunked(b""), b"2710\r\n" + b"x" * 10_000 + b"\r\n"),
        (chunked(b"fffffff\r\n"), b"x" * 10_000),
    ):
        reader = Http1Reader(LIMITS)
        reader.receive_data(start)
        tracemalloc.start()
        for _ in range(100):
            reader.receive_data(piece)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 5_000
        assert peak < 60_000


def test_idle_connection_holds_nothing_but_a_few_slots() -> None:
    reader = Http1Reader(LIMITS)
    reader.receive_data(head())
    reader.receive_data(chunked(b"1\r\nx\r\n0\r\n\r\n"))
    assert not hasattr(reader, "__dict__")
    assert sys.getsizeof(reader) < 130
    tracemalloc.start()
    readers = [Http1Reader(LIMITS) for _ in range(100)]
    long = head(b"X: " + b"a" * 4000)  # a short one is kept, for the case that it comes again
    for each in readers:
        each.receive_data(long)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 100 < 200
