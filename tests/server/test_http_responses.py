"""What the client is told: response framing, truthful ends, invalid messages and the response extensions."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import time
from typing import Any

import pytest

from raceway.errors import InvalidMessage
from tests.server.rawhttp import Closed, Malformed, Reset, request
from tests.server.running import Gate, Seen, answer, answering, body_of

START = {"type": "http.response.start", "status": 200, "headers": []}


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sending(*events: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await send(dict(event))

    return app


@pytest.fixture
def get(site: Any, port: int, raw: Any) -> Any:
    """Play an application to one request; return the response and the client."""

    def get(app: Any, method: str = "GET", *headers: str, version: str = "1.1") -> Any:
        site.app = app
        client = raw(port)
        client.send(request(method, "/", *headers, version=version))
        return client.response(method), client

    return get


def still_serves(client: Any, site: Any) -> None:
    site.app = answering(b"still here")
    client.send(request("GET", "/again"))
    assert client.response().body == b"still here"


# Framing


def test_content_length_of_the_application_is_kept(get: Any, site: Any) -> None:
    response, client = get(sending(start(200, (b"content-length", b"5")), body(b"hello")))
    assert response.one(b"content-length") == b"5"
    assert response.body == b"hello"
    still_serves(client, site)


def test_without_length_in_one_piece(get: Any, site: Any) -> None:
    response, client = get(sending(start(), body(b"hello")))
    assert response.body == b"hello"
    assert not response.until_close
    still_serves(client, site)


def test_without_length_in_many_pieces_is_chunked(get: Any, site: Any) -> None:
    response, client = get(sending(start(), body(b"a", True), body(b"", True), body(b"bc", True), body(b"d")))
    assert response.one(b"transfer-encoding") == b"chunked"
    assert response.body == b"abcd"
    still_serves(client, site)


def test_an_empty_piece_is_not_the_last_chunk(get: Any, site: Any) -> None:
    response, client = get(sending(start(), body(b"", True), body(b"", True), body(b"x")))
    assert response.body == b"x"
    still_serves(client, site)


@pytest.mark.parametrize("last", [body(b""), {"type": "http.response.body"}], ids=["empty", "defaults"])
def test_empty_bodies(get: Any, site: Any, last: Any) -> None:
    response, client = get(sending(start(), last))
    assert response.body == b""
    assert not response.until_close
    still_serves(client, site)


def test_defaults_of_start(get: Any, site: Any) -> None:
    response, client = get(sending({"type": "http.response.start", "status": 201}, body(b"x")))
    assert (response.status, response.body) == (201, b"x")
    still_serves(client, site)


@pytest.mark.parametrize("size", [1, 100, 16_383, 16_384, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("with_length", [True, False], ids=["length", "chunked"])
def test_sizes(get: Any, site: Any, size: int, with_length: bool) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    headers = [(b"content-length", str(size).encode())] if with_length else []
    response, client = get(
        sending(start(200, *headers), body(data[: size // 2], True), body(data[size // 2 :]))
    )
    assert response.body == data
    still_serves(client, site)


def test_head_and_first_body_come_together(site: Any, port: int, raw: Any) -> None:
    site.app = answering(b"hello")
    client = raw(port)
    client.send(request())
    data = client.socket.recv(65536)
    assert data.startswith(b"HTTP/1.1 200 ")
    assert data.endswith(b"hello"), "head and body in one write"


def test_each_piece_is_sent_at_once(site: Any, port: int, raw: Any) -> None:
    gates = [Gate(), Gate()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"one", True))
        await gates[0].wait()
        await send(body(b"two", True))
        await gates[1].wait()
        await send(body(b""))

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.head().status == 200
    assert (client.line(), client.line()) == (b"3", b"one")
    client.quiet(0.05)
    gates[0].open()
    assert (client.line(), client.line()) == (b"3", b"two")
    gates[1].open()
    assert (client.line(), client.line()) == (b"0", b"")


def test_http_1_0_without_length_ends_with_the_connection(get: Any) -> None:
    response, client = get(sending(start(), body(b"a", True), body(b"bc")), version="1.0")
    assert not response.has(b"transfer-encoding")
    assert response.body == b"abc"
    assert b"keep-alive" not in b",".join(response.all(b"connection")).lower()
    client.closed()


def test_http_1_0_keep_alive_without_length_ends_with_the_connection(get: Any) -> None:
    """A chunked answer must never go to an HTTP/1.0 client."""
    response, client = get(
        sending(start(), body(b"a", True), body(b"bc")), "GET", "Connection: keep-alive", version="1.0"
    )
    assert not response.has(b"transfer-encoding")
    assert response.body == b"abc"
    assert b"keep-alive" not in b",".join(response.all(b"connection")).lower()
    client.closed()


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("data", [b"", b"never seen"])
@pytest.mark.parametrize("length", [True, False], ids=["length", "no-length"])
def test_head_has_no_body(get: Any, site: Any, status: int, data: bytes, length: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, data, status, length=length)

    response, client = get(app, "HEAD")
    assert response.status == status
    if length:
        assert response.one(b"content-length") == b"%d" % len(data)
    still_serves(client, site)


def test_head_streamed(get: Any, site: Any) -> None:
    response, client = get(sending(start(), body(b"a", True), body(b"b", True), body(b"c")), "HEAD")
    assert response.status == 200
    assert not response.has(b"content-length") or response.one(b"content-length") == b"3"
    still_serves(client, site)


def test_head_with_a_length_and_no_bytes(get: Any, site: Any) -> None:
    """The right answer of an application that knows HEAD: the length of the GET, no body."""
    response, client = get(sending(start(200, (b"content-length", b"1234")), body()), "HEAD")
    assert response.one(b"content-length") == b"1234"
    still_serves(client, site)


@pytest.mark.parametrize("data", [b"", b"never seen"])
@pytest.mark.parametrize("length", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(get: Any, site: Any, status: int, data: bytes, length: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, data, status, length=length)

    response, client = get(app)
    assert (response.status, response.body) == (status, b"")
    assert not response.has(b"transfer-encoding")
    still_serves(client, site)


@pytest.mark.parametrize("status", [100, 101, 103, 199])
def test_interim_statuses_are_not_responses(get: Any, status: int, logs: Any) -> None:
    response, _ = get(sending(start(status), body(b"")))
    assert response.status == 500


@pytest.mark.parametrize("status", [200, 201, 202, 206, 299, 301, 400, 401, 418, 451, 499, 503, 599])
def test_statuses(get: Any, site: Any, status: int) -> None:
    response, client = get(answering(b"x", status))
    assert (response.status, response.body) == (status, b"x")
    still_serves(client, site)


def test_known_statuses_have_their_reason(get: Any) -> None:
    assert get(answering(b"x", 404))[0].reason == b"Not Found"


# Headers


def test_date_and_server(get: Any) -> None:
    response, _ = get(answering())
    assert response.one(b"server")
    date = email.utils.parsedate_to_datetime(response.one(b"date").decode())
    assert abs(date.timestamp() - time.time()) < 5
    assert response.one(b"date").endswith(b" GMT")


@pytest.mark.parametrize("name", [b"date", b"Date", b"server", b"Server"])
def test_date_and_server_of_the_application_win(get: Any, name: bytes) -> None:
    response, _ = get(answering(b"ok", 200, [(name, b"mine")]))
    assert response.one(name.lower()) == b"mine"


def test_headers_keep_order_and_duplicates(get: Any) -> None:
    headers = [(b"set-cookie", b"a=1"), (b"x-b", b"2"), (b"set-cookie", b"b=2"), (b"x-a", b"")]
    response, _ = get(answering(b"ok", 200, headers))
    mine = [
        (name.lower(), value)
        for name, value in response.headers
        if name.lower() in (b"set-cookie", b"x-b", b"x-a")
    ]
    assert mine == headers


def test_header_values_may_be_latin_1_or_utf_8(get: Any) -> None:
    response, _ = get(answering(b"ok", 200, [(b"x", "h\u00e9".encode("latin-1")), (b"y", "\u20ac".encode())]))
    assert response.one(b"x") == b"h\xe9"
    assert response.one(b"y") == "\u20ac".encode()


def test_headers_may_be_any_iterable(get: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": (pair for pair in [[b"x", b"1"]])}
        )
        await send(body(b"ok"))

    assert get(app)[0].one(b"x") == b"1"


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity", b"Chunked"])
@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding"])
def test_transfer_encoding_of_the_application_is_dropped(
    get: Any, site: Any, name: bytes, coding: bytes
) -> None:
    """ASGI HTTP: framing is the server's."""
    response, client = get(sending(start(200, (name, coding)), body(b"hello", True), body(b"!")))
    assert response.body == b"hello!"
    still_serves(client, site)


def test_transfer_encoding_beside_a_length_is_dropped(get: Any, site: Any) -> None:
    headers = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    response, client = get(sending(start(200, *headers), body(b"hello")))
    assert response.one(b"content-length") == b"5"
    assert response.body == b"hello"
    still_serves(client, site)


def test_connection_close_of_the_application_is_honoured(get: Any) -> None:
    response, client = get(answering(b"bye", 200, [(b"connection", b"close")]))
    assert response.closes
    assert response.body == b"bye"
    client.closed()


def test_connection_keep_alive_of_the_application_does_not_beat_the_clients_close(get: Any) -> None:
    response, client = get(
        answering(b"bye", 200, [(b"connection", b"keep-alive")]), "GET", "Connection: close"
    )
    assert response.body == b"bye"
    client.closed()


@pytest.mark.parametrize(
    "pair",
    [
        (b"x", b"a\r\nEvil: 1"),
        (b"x", b"a\nEvil: 1"),
        (b"x", b"a\rEvil: 1"),
        (b"x", b"a\x00b"),
        (b"x\r\nEvil", b"1"),
        (b"x y", b"1"),
        (b"x:", b"1"),
        (b"", b"1"),
        (b"\xe9", b"1"),
        ("x", b"1"),
        (b"x", "1"),
        (b"x", 1),
        (b"x", None),
        (b"x",),
        b"xy",
        (b"content-length", b"five"),
        (b"content-length", b"-1"),
        (b"content-length", b"+5"),
    ],
    ids=repr,
)
def test_invalid_headers_never_reach_the_wire(get: Any, pair: Any, logs: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [pair]})
            await send(body(b"ok"))
        except Exception as exc:
            seen.put(exc)
            raise

    response, _ = get(app)
    assert response.status == 500
    assert not response.has(b"evil")
    assert isinstance(seen.next(), InvalidMessage)


@pytest.mark.parametrize("lengths", [(b"5", b"6"), (b"5", b"5")])
def test_two_lengths_are_never_sent(get: Any, lengths: Any, logs: Any) -> None:
    response, _ = get(sending(start(200, *[(b"content-length", value) for value in lengths]), body(b"hello")))
    assert len(response.all(b"content-length")) <= 1
    assert response.status == 500 or response.body == b"hello"


# Truthful ends


@pytest.mark.parametrize("more", [True, False], ids=["and-returns", "and-says-it-is-all"])
def test_content_length_longer_than_the_body(site: Any, port: int, raw: Any, more: bool, logs: Any) -> None:
    """The client sees that bytes are missing, at once; it does not wait."""
    site.app = sending(start(200, (b"content-length", b"10")), body(b"short", more))
    client = raw(port)
    client.send(request() + request("GET", "/second"))
    with pytest.raises((Closed, Reset)):
        client.response()
    assert client.buffer in (b"", b"short")
    assert logs.wait()


@pytest.mark.parametrize("split", [True, False])
def test_content_length_shorter_than_the_body(site: Any, port: int, raw: Any, split: bool, logs: Any) -> None:
    """What is too much never stands in front of the next response."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["path"])
        await send(start(200, (b"content-length", b"5")))
        if split:
            await send(body(b"hello", True))
            await send(body(b" world"))
        else:
            await send(body(b"hello world"))

    site.app = app
    client = raw(port)
    client.send(request() + request("GET", "/second"))
    try:
        response = client.response()
    except (Closed, Reset):
        assert b" world" not in client.buffer
    else:
        assert response.body == b"hello" or response.status == 500
        client.gone()
    assert seen.next() == "/"
    assert logs.wait()


def test_a_crash_is_500_at_once_with_one_record(
    site: Any, port: int, raw: Any, logs: Any, shared: Any
) -> None:
    """Servers before this one noticed a crash up to a second late."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the application is broken")

    site.app = app
    client = raw(port)
    began = time.monotonic()
    client.send(request())
    response = client.response()
    assert time.monotonic() - began < 0.5
    assert response.status == 500
    assert b"broken" not in response.body, "no internals to strangers"
    logs.wait()
    still_serves(raw(port), site)
    assert len(logs.records) == 1
    assert logs.records[0].exc_info is not None
    assert "the application is broken" in str(logs.records[0].exc_info[1])


def test_after_a_crash_the_connection_is_right(site: Any, port: int, raw: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/crash":
            raise RuntimeError("no")
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request("GET", "/crash"))
    response = client.response()
    assert response.status == 500
    if response.closes:
        client.closed()
    else:
        client.send(request())
        assert client.response().status == 200


def test_a_crash_behind_a_started_response_is_visible(site: Any, port: int, raw: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"some", True))
        raise RuntimeError("in the middle")

    site.app = app
    client = raw(port)
    client.send(request() + request("GET", "/second"))
    with pytest.raises((Closed, Reset)):
        client.response()
    assert len(logs.wait()) == 1


def test_a_crash_behind_start_only(site: Any, port: int, raw: Any, logs: Any) -> None:
    """The head was not sent yet, or the connection ends: never a 200 that looks whole."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-length", b"0")))
        raise RuntimeError("in the middle")

    site.app = app
    client = raw(port)
    client.send(request())
    with contextlib.suppress(Closed, Reset):
        assert client.response().status == 500
    assert len(logs.wait()) == 1


def test_a_crash_behind_a_complete_response_is_logged(get: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"whole")
        raise RuntimeError("too late to matter")

    response, _ = get(app)
    assert response.body == b"whole"
    assert len(logs.wait()) == 1


def test_a_return_without_a_response_is_500(get: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    response, _ = get(app)
    assert response.status == 500
    assert len(logs.wait()) == 1


def test_a_return_behind_start_only(site: Any, port: int, raw: Any, logs: Any) -> None:
    site.app = sending(start())
    client = raw(port)
    client.send(request())
    with contextlib.suppress(Closed, Reset):
        assert client.response().status == 500
    assert len(logs.wait()) == 1


def test_a_return_in_mid_response_is_visible(site: Any, port: int, raw: Any, logs: Any) -> None:
    site.app = sending(start(), body(b"some", True))
    client = raw(port)
    client.send(request() + request("GET", "/second"))
    with pytest.raises((Closed, Reset)):
        client.response()
    assert len(logs.wait()) == 1


def test_an_incomplete_http_1_0_response_is_visible(site: Any, port: int, raw: Any, logs: Any) -> None:
    """Its body ends with the connection, so only a reset can tell a crash from an end."""
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"some", True))
        await gate.wait()
        raise RuntimeError("in the middle")

    site.app = app
    client = raw(port)
    client.send(request(version="1.0"))
    assert client.head().status == 200
    assert client.exactly(4) == b"some"
    gate.open()
    with pytest.raises(Reset):
        client.rest()


@pytest.mark.parametrize(
    "exception", [asyncio.CancelledError, TimeoutError, OSError, StopIteration, ExceptionGroup]
)
def test_the_server_survives_odd_exceptions(serve: Any, raw: Any, exception: Any, logs: Any) -> None:
    """An OSError of the application's own (a full disk) is a crash like any other."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/odd":
            raise exception("odd", [ValueError()]) if exception is ExceptionGroup else exception("odd")
        await answer(send)

    port = serve(app).port
    client = raw(port)
    client.send(request("GET", "/odd"))
    assert client.response().status == 500
    assert len(logs.wait()) == 1
    client = raw(port)
    client.send(request())
    assert client.response().status == 200


# Messages that ASGI does not allow


@pytest.mark.parametrize(
    ("events", "named"),
    [
        ([{"type": "http.response.body", "body": b"x"}], "http.response.start"),
        ([{"type": "nonsense"}], "http.response.start"),
        ([{"type": "websocket.send", "text": "x"}], "http.response.start"),
        ([{"type": "websocket.accept"}], "http.response.start"),
        ([{"type": "http.request"}], "http.response.start"),
        ([{}], "type"),
        ([{"type": None}], "http.response.start"),
        ([START, START], ".body"),
        ([START, {"type": "nonsense"}], ".body"),
        ([{"type": "http.response.start"}], "status"),
        ([{"type": "http.response.start", "status": "200"}], "status"),
        ([{"type": "http.response.start", "status": None}], "status"),
        ([{"type": "http.response.start", "status": 99}], "status"),
        ([{"type": "http.response.start", "status": 1000}], "status"),
        ([{"type": "http.response.start", "status": 200.5}], "status"),
        ([{"type": "http.response.start", "status": 200, "headers": {b"a": b"b"}}], "headers"),
        ([{"type": "http.response.start", "status": 200, "headers": 5}], "headers"),
        ([START, {"type": "http.response.body", "body": "text"}], "body"),
        ([START, {"type": "http.response.body", "body": 5}], "body"),
        ([START, {"type": "http.response.body", "body": None}], "body"),
    ],
    ids=repr,
)
def test_invalid_messages_are_named(
    site: Any, port: int, raw: Any, events: Any, named: str, logs: Any
) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for event in events:
                await send(event)
        except Exception as exc:
            seen.put(exc)
            raise

    site.app = app
    client = raw(port)
    client.send(request())
    exc = seen.next()
    assert isinstance(exc, InvalidMessage), repr(exc)
    assert named in str(exc).lower()
    try:
        assert client.response().status == 500
    except (Closed, Reset):
        assert len(events) > 1
    assert len(logs.wait()) == 1


def test_a_message_behind_the_response_is_an_error(site: Any, port: int, raw: Any, logs: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"whole")
        try:
            await send(body(b"more"))
        except Exception as exc:
            seen.put(exc)

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().body == b"whole"
    assert isinstance(seen.next(), InvalidMessage | OSError)
    client.send(request())
    assert client.response().body == b"whole"


def test_the_connection_survives_a_caught_invalid_message(site: Any, port: int, raw: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(InvalidMessage):
            await send({"type": "nonsense"})
        await answer(send, b"fine")

    site.app = app
    client = raw(port)
    for _ in range(2):
        client.send(request())
        assert client.response().body == b"fine"


def test_unknown_keys_are_allowed(get: Any) -> None:
    """ASGI core: middleware may add keys."""
    response, _ = get(sending({**START, "x-extra": 1}, {**body(b"ok"), "other.extra": object()}))
    assert response.body == b"ok"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_bodies(get: Any, kind: Any, logs: Any) -> None:
    """ASGI says bytes; what looks like bytes is taken or refused, never sent wrong."""
    response, _ = get(sending(start(), body(kind(b"abc"))))
    assert response.status == 500 or response.body == b"abc"


def test_a_child_task_may_send(get: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(answer(send, b"from a child"))

    assert get(app)[0].body == b"from a child"


# Extensions


def test_extensions_are_announced(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["extensions"])
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request())
    client.response()
    extensions = seen.next()
    assert "http.response.pathsend" in extensions
    assert "http.response.debug" in extensions
    assert "tls" not in extensions, "only on TLS connections"
    assert "websocket.http.response" not in extensions
    assert "http.response.push" not in extensions, "HTTP/2 only"
    assert all(isinstance(value, dict) for value in extensions.values())


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_pathsend(get: Any, site: Any, tmp_path: Any, size: int, length: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    headers = [(b"content-length", b"%d" % size)] if length else []
    response, client = get(
        sending(start(200, *headers), {"type": "http.response.pathsend", "path": str(path)})
    )
    assert response.status == 200
    assert response.body == path.read_bytes()
    still_serves(client, site)


def test_pathsend_for_head(get: Any, site: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    events = start(200, (b"content-length", b"5")), {"type": "http.response.pathsend", "path": str(path)}
    response, client = get(sending(*events), "HEAD")
    assert response.one(b"content-length") == b"5"
    still_serves(client, site)


def test_pathsend_to_a_slow_client(site: Any, port: int, raw: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789abcdef" * 500_000)
    site.app = sending(
        start(200, (b"content-length", b"8000000")), {"type": "http.response.pathsend", "path": str(path)}
    )
    client = raw(port, receive_buffer=4096)
    client.send(request())
    assert client.response().body == path.read_bytes()


def test_pathsend_of_a_missing_file(site: Any, port: int, raw: Any, tmp_path: Any, logs: Any) -> None:
    site.app = sending(start(), {"type": "http.response.pathsend", "path": str(tmp_path / "missing")})
    client = raw(port)
    client.send(request())
    with contextlib.suppress(Closed, Reset):
        assert client.response().status == 500
    assert len(logs.wait()) == 1


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "http.response.pathsend", "path": "/x"}],
        [START, body(b"x", True), {"type": "http.response.pathsend", "path": "/x"}],
        [START, {"type": "http.response.pathsend"}],
        [START, {"type": "http.response.pathsend", "path": 5}],
        [START, {"type": "http.response.pathsend", "path": "relative/file"}],
    ],
    ids=["before-start", "behind-body", "no-path", "number", "relative"],
)
def test_pathsend_misused(site: Any, port: int, raw: Any, events: Any, logs: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for event in events:
                await send(event)
        except Exception as exc:
            seen.put(exc)
            raise

    site.app = app
    client = raw(port)
    client.send(request())
    assert isinstance(seen.next(), InvalidMessage)
    try:
        assert client.response().status == 500
    except (Closed, Reset):
        assert len(events) > 1


def test_body_behind_pathsend_is_an_error(site: Any, port: int, raw: Any, tmp_path: Any, logs: Any) -> None:
    seen = Seen()
    path = tmp_path / "file"
    path.write_bytes(b"hello")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-length", b"5")))
        await send({"type": "http.response.pathsend", "path": str(path)})
        try:
            await send(body(b"more"))
        except Exception as exc:
            seen.put(exc)

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().body == b"hello"
    assert isinstance(seen.next(), InvalidMessage | OSError)


def test_debug_messages_stay_inside(get: Any, site: Any) -> None:
    debug = {"type": "http.response.debug", "info": {"template": object()}}
    response, client = get(sending(debug, start(200, (b"content-length", b"2")), body(b"ok")))
    assert (response.status, response.body) == (200, b"ok")
    still_serves(client, site)


def trailing(trailers: bool = True) -> Any:
    return sending(
        {**START, "trailers": trailers},
        body(b"a", True),
        body(b"b"),
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"x-end", b"2")]},
    )


def test_trailers(get: Any, site: Any) -> None:
    response, client = get(trailing(), "GET", "TE: trailers")
    assert response.body == b"ab"
    assert response.trailers == [(b"x-sum", b"1"), (b"x-end", b"2")]
    still_serves(client, site)


@pytest.mark.parametrize(("method", "version"), [("GET", "1.1"), ("HEAD", "1.1"), ("GET", "1.0")])
def test_trailers_that_the_client_did_not_ask_for(get: Any, method: str, version: str) -> None:
    """They are dropped; the response is whole without them (RFC 9110 section 6.5.1)."""
    response, _ = get(trailing(), method, version=version)
    assert response.trailers == []
    assert response.body == (b"" if method == "HEAD" else b"ab")


def test_early_hints(get: Any, site: Any) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
    response, client = get(sending(hint, START, body(b"ok")))
    assert response.status == 103
    assert response.all(b"link") == hint["links"]
    assert client.response().body == b"ok"
    still_serves(client, site)


def test_no_early_hints_for_http_1_0(get: Any) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    response, _ = get(sending(hint, START, body(b"ok")), version="1.0")
    assert (response.status, response.body) == (200, b"ok")


@pytest.mark.parametrize("link", [b"</a>\r\nEvil: 1", "text", 5], ids=repr)
def test_early_hints_misused(site: Any, port: int, raw: Any, link: Any, logs: Any) -> None:
    site.app = sending({"type": "http.response.early_hint", "links": [link]}, START, body(b"ok"))
    client = raw(port)
    client.send(request())
    response = client.response()
    assert response.status == 500
    assert not response.has(b"evil")


@pytest.mark.parametrize(
    "kind", ["http.response.push", "http.response.zerocopysend", "http.response.nonsense"]
)
def test_extensions_that_were_not_announced(site: Any, port: int, raw: Any, kind: str, logs: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if kind not in scope["extensions"]:
            try:
                await send({"type": kind, "path": "/x", "headers": [], "file": 0})
            except Exception as exc:
                seen.put(exc)
        else:
            seen.put(InvalidMessage())
        await answer(send)

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().status == 200
    assert isinstance(seen.next(), InvalidMessage)


# Order of events around a response


def test_receive_behind_the_response_is_disconnect(site: Any, port: int, raw: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body_of(receive)
        await answer(send)
        seen.put((await receive())["type"])
        seen.put((await receive())["type"])

    site.app = app
    client = raw(port)
    for _ in range(2):
        client.send(request("POST", "/", body=b"x"))
        assert client.response().status == 200
        assert seen.next() == "http.disconnect"
        assert seen.next() == "http.disconnect"


def test_a_task_waiting_in_receive_wakes_when_the_response_is_complete(
    site: Any, port: int, raw: Any
) -> None:
    """The usual shape of an SSE view: one task listens for the disconnect."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body_of(receive)

        async def listen() -> None:
            seen.put((await receive())["type"])

        task = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await answer(send)
        await task

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().status == 200
    assert seen.next() == "http.disconnect"


def test_work_behind_the_response_does_not_hold_the_client(site: Any, port: int, raw: Any) -> None:
    """A background task behind the response: the answer is already whole."""
    gate = Gate()
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"whole")
        await gate.wait()
        seen.put("done")

    site.app = app
    client = raw(port)
    client.send(request())
    assert client.response().body == b"whole"
    gate.open()
    assert seen.next() == "done"
    client.send(request())
    assert client.response().body == b"whole"


def test_the_responses_are_http_1_1(site: Any, port: int, raw: Any) -> None:
    site.app = answering()
    client = raw(port)
    client.send(request(version="1.0"))
    try:
        client.response()
    except Malformed:  # pragma: no cover
        pytest.fail("RFC 9112 section 2.3: a server answers with its own highest version")


def test_a_crash_is_told_to_head_without_a_body(site: Any, port: int, raw: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("on purpose")

    site.app = app
    client = raw(port)
    client.send(request("HEAD"))
    response = client.response("HEAD")
    assert response.status == 500
    assert int(response.one(b"content-length")) > 0
    client.closed()
    assert client.buffer == b"", "a body would be read as the next response"
    assert len(logs.wait()) == 1
