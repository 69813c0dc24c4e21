"""A request that comes again, to the byte, is not read again: it must not show."""

from __future__ import annotations

import pytest

from raceway.wire.events import Request
from raceway.wire.http1 import Http1Reader
from raceway.wire.limits import Limits
from tests.wire.http1_corpus import head


def facts(request: Request) -> tuple[object, ...]:
    return tuple(getattr(request, name) for name in Request.__slots__)


def one(reader: Http1Reader, data: bytes) -> Request:
    (event,) = reader.receive_data(data)
    assert isinstance(event, Request)
    return event


def test_the_same_again_says_the_same() -> None:
    reader = Http1Reader(Limits())
    data = head(b"X: 1", b"Cookie: a=b", start=b"GET /a%20b?q HTTP/1.1")
    first = one(reader, data)
    for _ in range(3):
        assert facts(one(reader, data)) == facts(first)


def test_what_an_application_does_to_its_headers_stays_with_it() -> None:
    reader = Http1Reader(Limits())
    data = head(b"X: 1")
    for _ in range(4):
        request = one(reader, data)
        assert request.headers == [(b"host", b"a"), (b"x", b"1")]
        request.headers.clear()


def test_another_request_in_between_is_read() -> None:
    reader = Http1Reader(Limits())
    a, b = head(start=b"GET /a HTTP/1.1"), head(start=b"GET /b HTTP/1.1")
    assert [one(reader, data).path for data in (a, a, b, a, b, b, a)] == [
        "/a", "/a", "/b", "/a", "/b", "/b", "/a",
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_the_same_bytes_in_the_middle_of_something_else_are_not_a_request(cut: int) -> None:
    """A body that looks like the last head is a body."""
    reader = Http1Reader(Limits())
    data = head()
    one(reader, data)
    post = head(b"Content-Length: %d" % (len(data) + cut), start=b"POST / HTTP/1.1")
    events = reader.receive_data(post) + reader.receive_data(b"x" * cut) + reader.receive_data(data)
    assert [type(event).__name__ for event in events] == ["Request", "Body", "Body", "End"]
    assert one(reader, data).method == "GET"


def test_a_request_that_ends_the_connection_does_not_come_again() -> None:
    reader = Http1Reader(Limits())
    data = head(b"Connection: close")
    one(reader, data)
    assert reader.receive_data(data) == []
