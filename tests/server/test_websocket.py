"""WebSocket from outside (RFC 6455, RFC 7692, ASGI WebSocket 2.5): handshake, messages, closing and crashes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import struct
import time
from typing import Any

import pytest
from websockets.sync.client import connect as websockets_connect

from raceway.errors import InvalidMessage
from raceway.wire.limits import Limits
from tests.server.rawhttp import Closed, Reset, request
from tests.server.rawws import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    close_frame,
    deflated,
    frame,
    handshake,
    inflated,
)
from tests.server.running import Gate, Seen, Site, answer, running

ACCEPTED = {"type": "websocket.accept"}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accept and send back; an http scope is answered with its type."""
    if scope["type"] == "http":
        await answer(send, b"http")
        return
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPTED)
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


def listening(seen: Seen, accept: Any = ACCEPTED) -> Any:
    """Report every event."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(accept)
        while True:
            event = await receive()
            seen.put(event)
            if event["type"] == "websocket.disconnect":
                return

    return app


def saying(*events: Any) -> Any:
    """Send the events behind ``websocket.connect``, then wait for the disconnect."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for event in events:
            await send(event)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return app


def told(event: Any) -> tuple[int, str]:
    assert event["type"] == "websocket.disconnect", event
    return event["code"], event["reason"]


# Handshake (RFC 6455 section 4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"connection": "upgrade"},
        {"connection": "keep-alive, Upgrade"},
        {"connection": "Upgrade, keep-alive"},
        {"connection": "keep-alive,Upgrade"},
        {"connection": "keep-alive ,\tUPGRADE , foo"},
        {"upgrade": "WebSocket"},
        {"upgrade": "WEBSOCKET"},
        {"upgrade": " websocket "},
        {"key": " " + KEY + " "},
        {"host": "example.com:8000"},
        {"host": "[::1]:8000"},
    ],
    ids=repr,
)
def test_handshakes(site: Any, port: int, ws: Any, changes: dict[str, Any]) -> None:
    """Firefox sends ``keep-alive, Upgrade``."""
    site.app = echo
    client = ws(port).open(**changes)
    client.text("hello")
    assert client.message() == "hello"


def test_several_connection_headers(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port)
    client.send(handshake("/", "Connection: Upgrade", connection="keep-alive"))
    assert client.response().status == 101


def test_handshake_in_pieces(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port)
    for byte in handshake():
        client.send(bytes([byte]))
    assert client.response().one(b"sec-websocket-accept") == ACCEPT


@pytest.mark.parametrize(
    ("changes", "statuses"),
    [
        ({"version": "8"}, (426,)),
        ({"version": "12"}, (426,)),
        ({"version": "14"}, (426,)),
        ({"version": "0"}, (426,)),
        ({"version": "13x"}, (400, 426)),
        ({"version": ""}, (400, 426)),
        ({"version": None}, (400, 426)),
        ({"key": None}, (400,)),
        ({"key": ""}, (400,)),
        ({"key": "short"}, (400,)),
        ({"key": "dGhlIHNhbXBsZSBub25j"}, (400,)),
        ({"key": "dGhlIHNhbXBsZSBub25jZTE="}, (400,)),
        ({"key": KEY + "="}, (400,)),
        ({"key": KEY[:-2]}, (400,)),
        ({"key": "!!!!!!!!!!!!!!!!!!!!!!=="}, (400,)),
        ({"key": KEY + ", " + KEY}, (400,)),
        ({"method": "POST"}, (405,)),
        ({"method": "PUT"}, (405,)),
        ({"method": "HEAD"}, (405,)),
        ({"host": None}, (400,)),
        ({"host": "a b"}, (400,)),
        ({"host": "a\r\nHost: b"}, (400,)),
    ],
    ids=repr,
)
def test_refused_handshakes(site: Any, port: int, ws: Any, changes: dict[str, Any], statuses: Any) -> None:
    """Four of six servers took any key; the application is never asked."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["type"])
        await answer(send)

    site.app = app
    client = ws(port)
    client.send(handshake(**changes))
    response = client.response(changes.get("method", "GET"))
    assert response.status in statuses
    if response.status == 426:
        assert response.one(b"sec-websocket-version") == b"13"
        assert b"websocket" in response.one(b"upgrade").lower()
    if response.status == 405:
        assert response.one(b"allow") == b"GET"
    seen.nothing()


@pytest.mark.parametrize(
    "header", [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13"]
)
def test_duplicated_handshake_headers(site: Any, port: int, ws: Any, header: str) -> None:
    """Never joined with a comma, never "the last one wins" in silence for the key."""
    site.app = echo
    client = ws(port)
    client.send(handshake("/", header))
    assert client.response().status in ((400, 426) if "13" not in header else (400, 426, 101))


@pytest.mark.parametrize(
    "changes",
    [
        {"http": "1.0"},
        {"connection": None},
        {"connection": "keep-alive"},
        {"connection": "Upgraded"},
        {"upgrade": None},
    ],
    ids=repr,
)
def test_not_an_upgrade(site: Any, port: int, ws: Any, changes: dict[str, Any]) -> None:
    """Without Connection: upgrade, or from HTTP/1.0, Upgrade is ignored (RFC 9110 section 7.8)."""
    site.app = echo
    client = ws(port)
    client.send(handshake(**changes))
    response = client.response()
    assert response.status in (200, 400, 426)
    assert response.status != 200 or response.body == b"http"


def test_a_handshake_with_a_body_is_not_confused(site: Any, port: int, ws: Any) -> None:
    """The body of a request is never read as frames."""
    seen = Seen()
    site.app = listening(seen)
    client = ws(port)
    body = frame(TEXT, b"smuggled")
    client.send(handshake("/", f"Content-Length: {len(body)}") + body)
    try:
        status = client.response().status
    except (Closed, Reset):
        status = 400
    if status == 101:
        client.send(close_frame(1000))
        assert seen.next()["type"] == "websocket.disconnect"
    else:
        assert status in (200, 400, 500)


def test_a_handshake_behind_other_requests(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port)
    client.send(request() + request() + handshake() + frame(TEXT, b"early"))
    assert client.response().body == b"http"
    assert client.response().body == b"http"
    assert client.response().status == 101
    assert client.message() == "early"


def test_a_handshake_behind_a_request_that_waits(site: Any, port: int, ws: Any) -> None:
    """Reading pauses behind the handshake, and must go on when it becomes a WebSocket."""
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await gate.wait()
        await echo(scope, receive, send)

    site.app = app
    client = ws(port)
    client.send(request() + handshake())
    gate.open()
    assert client.response().body == b"http"
    assert client.response().status == 101
    client.send(frame(TEXT, b"afterwards"))
    assert client.message() == "afterwards"


def test_sends_that_nobody_awaits_are_bounded(site: Any, port: int, ws: Any, shared: Any) -> None:
    """``send_now`` never waits, so a client that does not read is given up."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        send_now = scope["extensions"]["raceway.push"]["send_now"]
        await receive()
        await send(ACCEPTED)
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(4000):
                send_now({"type": "websocket.send", "bytes": b"x" * 16384})
                sent += 16384
        seen.put(sent)

    site.app = app
    client = ws(port, receive_buffer=4096).open()
    assert seen.next() < 32 << 20, "all 64 MB were taken"
    assert shared[0].server.counters["slow_clients_closed"] >= 1
    client.close()


def test_who_does_not_await_a_send_need_not_hear_that_the_client_left(
    site: Any, port: int, ws: Any, logs: Any
) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        send_now = scope["extensions"]["raceway.push"]["send_now"]
        await receive()
        await send(ACCEPTED)
        seen.put(send_now({"type": "websocket.send", "bytes": b"x" * (8 << 20)}) is not None)
        gone = await receive()
        gc.collect()  # asyncio tells of a failure when nobody has the future any more
        seen.put(gone["type"])

    site.app = app
    client = ws(port, receive_buffer=4096).open()
    assert seen.next(), "the client is not slow"
    client.close()
    assert seen.next() == "websocket.disconnect"
    assert logs.errors == []


def test_text_of_a_subclass_of_str(site: Any, port: int, ws: Any) -> None:
    """What a template renders is a ``SafeString``."""

    class Safe(str):
        __slots__ = ()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await send({"type": "websocket.send", "text": Safe("rendered")})
        await receive()

    site.app = app
    assert ws(port).open().message() == "rendered"


def test_frames_right_behind_the_handshake_are_delivered(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open(early=frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT, b"three")[:4])
    assert client.message() == "one"
    assert client.message() == b"two"
    client.send(frame(TEXT, b"three")[4:])
    assert client.message() == "three"


def test_frames_before_accept_wait(site: Any, port: int, ws: Any) -> None:
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.put("connecting")
        await gate.wait()
        await send(ACCEPTED)
        seen.put((await receive())["text"])

    site.app = app
    client = ws(port)
    client.send(handshake())
    assert seen.next() == "connecting"
    client.send(frame(TEXT, b"eager"))
    client.quiet(0.05)
    gate.open()
    assert client.response().status == 101
    assert seen.next() == "eager"


def test_response_headers_of_101(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    upgraded = ws(port).open().upgraded
    assert not upgraded.has(b"content-length")
    assert not upgraded.has(b"transfer-encoding")
    assert not upgraded.has(b"sec-websocket-protocol")
    assert not upgraded.has(b"sec-websocket-extensions")
    assert len(upgraded.all(b"date")) <= 1


# Scope


def test_scope_is_complete(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope)
        seen.put(await receive())
        await send(ACCEPTED)

    site.app = app
    client = ws(port).open("/a%2Fb%20c?x=1&y=%20", "X-One: 1", "Origin: http://localhost", "x-one: 2")
    scope = seen.next()
    assert scope["type"] == "websocket"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["asgi"]["spec_version"] == "2.5"
    assert scope["http_version"] == "1.1"
    assert scope["scheme"] == "ws"
    assert scope["path"] == "/a/b c"
    assert scope["raw_path"] == b"/a%2Fb%20c"
    assert scope["query_string"] == b"x=1&y=%20"
    assert scope["root_path"] == ""
    assert scope["subprotocols"] == []
    assert scope["state"] == {}
    assert "websocket.http.response" in scope["extensions"]
    assert set(scope["extensions"]["raceway.push"]) >= {"push", "send", "listen"}
    assert "method" not in scope
    assert tuple(scope["client"]) == client.socket.getsockname()
    assert tuple(scope["server"]) == ("127.0.0.1", port)
    names = [name for name, _ in scope["headers"]]
    assert names[0] == b"host"
    assert [pair for pair in scope["headers"] if pair[0] == b"x-one"] == [(b"x-one", b"1"), (b"x-one", b"2")]
    assert (b"origin", b"http://localhost") in list(scope["headers"])
    assert all(name == name.lower() for name in names)
    assert seen.next() == {"type": "websocket.connect"}


@pytest.mark.parametrize(
    ("headers", "offered"),
    [
        ([], []),
        (["Sec-WebSocket-Protocol: chat"], ["chat"]),
        (["Sec-WebSocket-Protocol: chat, superchat"], ["chat", "superchat"]),
        (["Sec-WebSocket-Protocol: b,a ,\tc"], ["b", "a", "c"]),
        (["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b, c"], ["a", "b", "c"]),
        (["Sec-WebSocket-Protocol: v1.chat+json"], ["v1.chat+json"]),
    ],
    ids=repr,
)
def test_subprotocols(site: Any, port: int, ws: Any, headers: list[str], offered: list[str]) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(list(scope["subprotocols"]))
        await receive()
        chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": chosen})

    site.app = app
    client = ws(port).open("/", *headers)
    assert seen.next() == offered
    assert client.upgraded.all(b"sec-websocket-protocol") == [name.encode() for name in offered[-1:]]


def test_unix_socket(serve: Any, ws: Any, tmp_path: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope)
        await echo(scope, receive, send)

    path = str(tmp_path / "s")
    client = ws(str(serve(app, uds=path).addresses[0])).open()
    client.text("hello")
    assert client.message() == "hello"
    assert list(seen.next()["server"]) == [path, None]


def test_state_of_lifespan_reaches_websockets(serve: Any, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = "p"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.put(dict(scope["state"]))
        scope["state"]["mine"] = 1
        await echo(scope, receive, send)

    port = serve(app, lifespan=True).port
    for _ in range(2):
        ws(port).open()
        assert seen.next() == {"pool": "p"}


def test_proxy_scheme(serve: Any, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put((scope["scheme"], scope["client"][0]))
        await echo(scope, receive, send)

    port = serve(app, proxy_headers=True, forwarded_allow_ips="127.0.0.1").port
    ws(port).open("/", "X-Forwarded-For: 6.6.6.6, 1.2.3.4", "X-Forwarded-Proto: https")
    assert seen.next() == ("wss", "1.2.3.4")
    ws(port).open("/", "X-Forwarded-Proto: wss")
    assert seen.next() == ("wss", "127.0.0.1")


# Accept, refuse, deny


def test_headers_of_accept_reach_the_client(site: Any, port: int, ws: Any) -> None:
    """They were dropped by servers before this one."""
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-h\xc3\xa9"[:3], b"h\xc3\xa9")]
    site.app = saying({"type": "websocket.accept", "headers": headers})
    upgraded = ws(port).open().upgraded
    assert upgraded.all(b"set-cookie") == [b"a=1", b"b=2"]
    assert upgraded.one(b"x-h") == b"h\xc3\xa9"


@pytest.mark.parametrize(
    "pair",
    [
        (b"x", b"a\r\nEvil: 1"),
        (b"x\n", b"a"),
        ("x", b"a"),
        (b"x", "a"),
        (b"", b"a"),
        (b"sec-websocket-protocol", b"a\r\nb"),
    ],
    ids=repr,
)
def test_invalid_headers_of_accept(site: Any, port: int, ws: Any, pair: Any, logs: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await send({"type": "websocket.accept", "headers": [pair]})
        except Exception as exc:
            seen.put(exc)
            raise

    site.app = app
    client = ws(port)
    client.send(handshake())
    assert client.response().status == 500
    assert isinstance(seen.next(), InvalidMessage)


@pytest.mark.parametrize("close", [{}, {"code": 4001}, {"code": 1000, "reason": "no"}], ids=repr)
def test_close_before_accept_is_403(site: Any, port: int, ws: Any, close: dict[str, Any]) -> None:
    site.app = saying({"type": "websocket.close", **close})
    client = ws(port)
    client.send(handshake())
    response = client.response()
    assert response.status == 403
    assert response.one(b"content-length")


def test_refused_applications_see_the_disconnect(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})
        seen.put((await receive())["type"])

    site.app = app
    client = ws(port)
    client.send(handshake())
    assert client.response().status == 403
    assert seen.next() == "websocket.disconnect"


def denial(status: int, headers: Any, *pieces: bytes) -> list[Any]:
    events: list[Any] = [
        {"type": "websocket.http.response.start", "status": status, "headers": list(headers)}
    ]
    for number, piece in enumerate(pieces):
        more = number < len(pieces) - 1
        events.append({"type": "websocket.http.response.body", "body": piece, "more_body": more})
    return events


@pytest.mark.parametrize(
    ("status", "headers", "pieces"),
    [
        (401, [(b"www-authenticate", b"Basic")], [b"who are you?"]),
        (401, [(b"content-length", b"3")], [b"abc"]),
        (429, [(b"retry-after", b"5"), (b"x", b"1"), (b"x", b"2")], [b""]),
        (503, [], [b"one", b"two", b"", b"three"]),
        (302, [(b"location", b"/elsewhere")], [b""]),
        (404, [], [b"x" * 300_000]),
        (200, [], [b"fine, but no socket"]),
    ],
    ids=repr,
)
def test_denial_responses(site: Any, port: int, ws: Any, status: int, headers: Any, pieces: Any) -> None:
    """The client waited five seconds and got nothing from servers before this one."""
    site.app = saying(*denial(status, headers, *pieces))
    client = ws(port)
    client.send(handshake())
    response = client.response()
    assert response.status == status
    assert response.body == b"".join(pieces)
    for name, value in headers:
        assert value in response.all(name)


def test_a_denial_is_streamed(site: Any, port: int, ws: Any) -> None:
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start, one, two = denial(503, [], b"one", b"two")
        await receive()
        await send(start)
        await send(one)
        await gate.wait()
        await send(two)

    site.app = app
    client = ws(port)
    client.send(handshake())
    head = client.head()
    assert head.status == 503
    if head.has(b"transfer-encoding"):
        assert client.line() == b"3"
    assert client.exactly(3) == b"one"
    gate.open()
    assert b"two" in client.exactly(3 if not head.has(b"transfer-encoding") else 8)


def test_a_denial_that_ends_early_is_visible(site: Any, port: int, ws: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for event in denial(503, [], b"one", b"two")[:-1]:
            await send(event)

    site.app = app
    client = ws(port)
    client.send(handshake())
    with pytest.raises((Closed, Reset)):
        client.response()
    assert len(logs.wait()) == 1


@pytest.mark.parametrize(
    "events",
    [
        [denial(401, [], b"")[0], ACCEPTED],
        [denial(401, [], b"")[0], {"type": "websocket.close"}],
        [denial(401, [], b"")[1]],
        [ACCEPTED, *denial(401, [], b"")],
        [*denial(401, [], b""), {"type": "websocket.send", "text": "x"}],
        [{"type": "websocket.http.response.start", "status": "401"}],
        [{"type": "websocket.http.response.start", "status": 101}],
        [{"type": "websocket.http.response.start"}],
    ],
    ids=repr,
)
def test_denials_misused(site: Any, port: int, ws: Any, events: Any, logs: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            for event in events:
                await send(event)
        except Exception as exc:
            seen.put(exc)

    site.app = app
    client = ws(port)
    client.send(handshake())
    assert isinstance(seen.next(), InvalidMessage | OSError)


def test_a_connection_that_was_refused_carries_no_frames(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.put(scope["type"])
        await saying({"type": "websocket.close"})(scope, receive, send)

    site.app = app
    client = ws(port)
    client.send(handshake() + frame(TEXT, b"x"))
    assert client.response().status == 403
    assert seen.next() == "websocket"
    client.gone()
    seen.nothing()


# Messages


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        b"hello",
        "",
        b"",
        "\u00e9\u20ac\U0001f600",
        bytes(range(256)),
        "x" * 125,
        "x" * 126,
        "x" * 127,
        b"x" * 65535,
        b"x" * 65536,
        "\x00",
        "x" * 500_000,
    ],
    ids=lambda message: f"{type(message).__name__}-{len(message)}",
)
def test_messages(site: Any, port: int, ws: Any, message: str | bytes) -> None:
    """Empty messages were dropped by servers before this one."""
    site.app = echo
    client = ws(port).open()
    payload = message.encode() if isinstance(message, str) else message
    client.send(frame(TEXT if isinstance(message, str) else BINARY, payload))
    assert client.message() == message


@pytest.mark.parametrize("split", [1, 2, 3, 5, 6, 7, 20])
def test_a_frame_cut_anywhere(site: Any, port: int, ws: Any, split: int) -> None:
    site.app = echo
    client = ws(port).open()
    data = frame(TEXT, b"x" * 200) + frame(TEXT, b"y")
    client.send(data[:split])
    client.quiet(0.01)
    client.send(data[split:])
    assert client.message() == "x" * 200
    assert client.message() == "y"


def test_frames_byte_by_byte(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open()
    for byte in (
        frame(TEXT, b"one") + frame(PING, b"p") + frame(TEXT, b"tw", fin=False) + frame(CONTINUATION, b"o")
    ):
        client.send(bytes([byte]))
    got = [client.frame() for _ in range(3)]  # a pong may overtake the application's answer
    assert [item.payload for item in got if item.opcode == TEXT] == [b"one", b"two"]
    assert [item.payload for item in got if item.opcode == PONG] == [b"p"]


def test_many_messages_in_one_segment_keep_their_order(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open()
    client.send(b"".join(frame(TEXT, b"%d" % n) for n in range(1000)))
    for n in range(1000):
        assert client.message() == str(n)


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"abcd"])
def test_masks(site: Any, port: int, ws: Any, mask: bytes) -> None:
    site.app = echo
    client = ws(port).open()
    client.send(frame(TEXT, b"hello", mask=mask) + frame(BINARY, b"", mask=mask))
    assert client.message() == "hello"
    assert client.message() == b""


def test_event_shapes(site: Any, port: int, ws: Any) -> None:
    """Exactly one of text and bytes is not None (ASGI WebSocket)."""
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(frame(TEXT, b"") + frame(BINARY, b"") + frame(TEXT, b"t") + frame(BINARY, b"b"))
    for text, data in (("", None), (None, b""), ("t", None), (None, b"b")):
        event = seen.next()
        assert event["type"] == "websocket.receive"
        assert event.get("text") == text
        assert event.get("bytes") == data
        assert data is None or type(event["bytes"]) is bytes


@pytest.mark.parametrize(
    "pieces",
    [
        [b"a", b"b"],
        [b"", b""],
        [b"", b"x", b""],
        [b"\xe2", b"\x82", b"\xac"],
        [b"x" * 70_000, b"y" * 70_000],
        [b"z"] * 500,
    ],
    ids=lambda pieces: f"{len(pieces)}-pieces-of-{len(pieces[0])}",
)
@pytest.mark.parametrize("control", [b"", frame(PING, b"between")], ids=["", "pings-between"])
def test_fragments(site: Any, port: int, ws: Any, pieces: list[bytes], control: bytes) -> None:
    site.app = echo
    client = ws(port).open()
    data = b""
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        data += frame(CONTINUATION if number else TEXT, piece, fin=last) + (b"" if last else control)
    client.send(data)
    got = client.frame()
    pongs = 0
    while got.opcode == PONG:
        assert got.payload == b"between"
        pongs += 1
        got = client.frame()
    assert got.opcode == TEXT
    assert got.payload == b"".join(pieces)
    assert bool(pongs) is bool(control)


def test_many_small_fragments_are_fine(site: Any, port: int, ws: Any) -> None:
    """The number of fragments is not the limit, the size is."""
    site.app = echo
    client = ws(port).open()
    pieces = 10_000
    body = b"".join(frame(CONTINUATION, b"y" * 64, fin=False) for _ in range(pieces - 2))
    client.send(frame(BINARY, b"x" * 64, fin=False) + body + frame(CONTINUATION, b"z" * 64))
    assert len(client.message()) == pieces * 64


@pytest.mark.parametrize("payload", [b"", b"hello", b"x" * 125, bytes(range(125))], ids=len)
def test_pings_are_answered(site: Any, port: int, ws: Any, payload: bytes) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(frame(PING, payload))
    got = client.frame()
    assert (got.opcode, got.payload) == (PONG, payload)
    seen.nothing()


def test_several_pings(site: Any, port: int, ws: Any) -> None:
    """Only the last one has to be answered (RFC 6455 section 5.5.3)."""
    site.app = echo
    client = ws(port).open()
    client.send(b"".join(frame(PING, b"%d" % n) for n in range(5)))
    payload = b""
    while payload != b"4":
        got = client.frame()
        assert got.opcode == PONG
        payload = got.payload


def test_unsolicited_pongs_are_ignored(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open()
    client.send(frame(PONG, b"x") + frame(PONG) + frame(TEXT, b"still"))
    assert client.message() == "still"


def test_messages_of_the_application_before_any_of_the_client(site: Any, port: int, ws: Any) -> None:
    site.app = saying(
        ACCEPTED, {"type": "websocket.send", "text": "hi"}, {"type": "websocket.send", "bytes": b"\0"}
    )
    client = ws(port).open()
    assert client.message() == "hi"
    assert client.message() == b"\0"


@pytest.mark.parametrize("extra", [{"text": "t", "bytes": None}, {"text": None, "bytes": b"b"}])
def test_the_other_key_may_be_none(site: Any, port: int, ws: Any, extra: dict[str, Any]) -> None:
    site.app = saying(ACCEPTED, {"type": "websocket.send", **extra})
    assert ws(port).open().message() == (extra["text"] or extra["bytes"])


@pytest.mark.parametrize(
    ("events", "named"),
    [
        ([{"type": "websocket.send", "text": "x"}], "accept"),
        ([{"type": "nonsense"}], "accept"),
        ([{}], "accept"),
        ([{"type": "http.response.start", "status": 200}], "accept"),
        ([ACCEPTED, ACCEPTED], "send"),
        ([ACCEPTED, {"type": "nonsense"}], "send"),
        ([ACCEPTED, {"type": "websocket.send"}], "text"),
        ([ACCEPTED, {"type": "websocket.send", "text": None, "bytes": None}], "text"),
        ([ACCEPTED, {"type": "websocket.send", "text": "a", "bytes": b"b"}], "text"),
        ([ACCEPTED, {"type": "websocket.send", "text": b"bytes"}], "text"),
        ([ACCEPTED, {"type": "websocket.send", "bytes": "text"}], "bytes"),
        ([ACCEPTED, {"type": "websocket.send", "text": 5}], "text"),
        ([ACCEPTED, {"type": "websocket.send", "text": "\ud800"}], "text"),
        ([ACCEPTED, {"type": "websocket.close", "code": 1005}], "code"),
        ([ACCEPTED, {"type": "websocket.close", "code": 1006}], "code"),
        ([ACCEPTED, {"type": "websocket.close", "code": 999}], "code"),
        ([ACCEPTED, {"type": "websocket.close", "code": 5000}], "code"),
        ([ACCEPTED, {"type": "websocket.close", "code": "1000"}], "code"),
        ([ACCEPTED, {"type": "websocket.close", "code": 1000, "reason": b"x"}], "reason"),
        ([{"type": "websocket.accept", "subprotocol": b"x"}], "subprotocol"),
        ([{"type": "websocket.accept", "subprotocol": "a\r\nb"}], "subprotocol"),
    ],
    ids=repr,
)
def test_invalid_messages_are_named(
    site: Any, port: int, ws: Any, events: Any, named: str, logs: Any
) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            for event in events:
                await send(event)
        except Exception as exc:
            seen.put(exc)
            raise

    site.app = app
    client = ws(port)
    client.send(handshake())
    exc = seen.next()
    assert isinstance(exc, InvalidMessage), repr(exc)
    assert named in str(exc).lower()
    response = client.response()
    if len(events) == 1:
        assert response.status == 500
    else:
        client.closing(1011)
    assert len(logs.wait()) == 1


def test_the_connection_survives_a_caught_invalid_message(site: Any, port: int, ws: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        with pytest.raises(InvalidMessage):
            await send({"type": "websocket.send", "text": "a", "bytes": b"b"})
        await send({"type": "websocket.send", "text": "fine"})

    site.app = app
    client = ws(port).open()
    assert client.message() == "fine"
    client.closing(1000)


def test_unknown_keys_are_allowed(site: Any, port: int, ws: Any) -> None:
    site.app = saying({**ACCEPTED, "x": 1}, {"type": "websocket.send", "text": "t", "x": object()})
    assert ws(port).open().message() == "t"


def test_send_now_acts_when_called(site: Any, port: int, ws: Any) -> None:
    """What ``self.send(x)`` without ``await`` stands on; it returns what to wait for, if anything."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        send_now = scope["extensions"]["raceway.push"]["send_now"]
        await receive()
        send_now(ACCEPTED)
        for number in range(3):
            send_now({"type": "websocket.send", "text": str(number)})
        with pytest.raises(InvalidMessage):
            send_now({"type": "nonsense"})
        room = send_now({"type": "websocket.send", "bytes": b"x" * (8 << 20)})
        seen.put(room is not None)
        await room
        send_now({"type": "websocket.close", "code": 4000})
        with pytest.raises(OSError, match="closed"):
            send_now({"type": "websocket.send", "text": "late"})

    site.app = app
    client = ws(port).open()
    assert [client.message() for _ in range(3)] == ["0", "1", "2"]
    assert seen.next()
    assert len(client.message()) == 8 << 20
    client.closing(4000)


# Closing by the application


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": 1000}, 1000, ""),
        ({"code": 1001}, 1001, ""),
        ({"code": 3000, "reason": "bye"}, 3000, "bye"),
        ({"code": 4001, "reason": "unauthorised"}, 4001, "unauthorised"),
        ({"code": 4999, "reason": "\u20ac" * 41}, 4999, "\u20ac" * 41),
        ({"code": 4000, "reason": None}, 4000, ""),
        ({"reason": "only a reason"}, 1000, "only a reason"),
        ({"code": 1012, "reason": "restart"}, 1012, "restart"),
        ({"code": None}, 1000, ""),
    ],
    ids=repr,
)
def test_close_code_and_reason_reach_the_client(
    site: Any, port: int, ws: Any, event: dict[str, Any], code: int, reason: str
) -> None:
    """Reasons were dropped by servers before this one."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await send({"type": "websocket.close", **event})
        seen.put(told(await receive()))

    site.app = app
    ws(port).open().closing(code, reason)
    assert seen.next()[0] == code


@pytest.mark.parametrize("reason", ["x" * 124, "x" * 10_000, "\u20ac" * 42, "x" + "\u20ac" * 41])
def test_a_long_reason_is_cut_between_characters(site: Any, port: int, ws: Any, reason: str) -> None:
    """A close frame holds 123 bytes of it (RFC 6455 section 5.5)."""
    site.app = saying(ACCEPTED, {"type": "websocket.close", "code": 4000, "reason": reason})
    got = ws(port).open().frame()
    assert got.code == 4000
    assert reason.startswith(got.reason)
    assert len(got.reason.encode()) > 100


def test_messages_before_a_close_arrive(site: Any, port: int, ws: Any) -> None:
    site.app = saying(
        ACCEPTED,
        *[{"type": "websocket.send", "text": str(n)} for n in range(50)],
        {"type": "websocket.close"},
    )
    client = ws(port).open()
    for n in range(50):
        assert client.message() == str(n)
    client.closing(1000)


def test_a_large_message_before_a_close_arrives_at_a_slow_client(site: Any, port: int, ws: Any) -> None:
    site.app = saying(
        ACCEPTED, {"type": "websocket.send", "bytes": b"x" * 3_000_000}, {"type": "websocket.close"}
    )
    client = ws(port, receive_buffer=16384).open()
    assert len(client.message()) == 3_000_000
    client.closing(1000)


def test_after_our_close_the_clients_messages_are_not_delivered(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await send({"type": "websocket.close", "code": 4000})
        seen.put(await receive())

    site.app = app
    client = ws(port).open()
    assert client.frame().code == 4000
    client.send(frame(TEXT, b"late") + frame(PING, b"late") + close_frame(4000))
    client.closed()
    assert told(seen.next())[0] == 4000


@pytest.mark.parametrize(
    "event", [{"type": "websocket.send", "text": "late"}, {"type": "websocket.close"}], ids=repr
)
def test_send_behind_close_is_an_error(site: Any, port: int, ws: Any, event: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await send({"type": "websocket.close", "code": 4000})
        try:
            await send(event)
        except Exception as exc:
            seen.put(exc)
        else:
            seen.put(None)

    site.app = app
    ws(port).open().closing(4000)
    got = seen.next()
    assert isinstance(got, OSError | InvalidMessage) or (got is None and event["type"] == "websocket.close")


def test_a_client_that_never_answers_a_close_is_dropped(serve: Any, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await send({"type": "websocket.close", "code": 4000})
        await receive()
        seen.put("over")

    client = ws(serve(app, limits={"ws_close_timeout_s": 0.2}).port).open()
    assert client.frame().code == 4000
    began = time.monotonic()
    client.gone()
    assert time.monotonic() - began < 2
    assert seen.next() == "over"


# Closing by the client


@pytest.mark.parametrize(
    ("sent", "code", "reason", "echoed"),
    [
        (close_frame(1000), 1000, "", 1000),
        (close_frame(1000, "done"), 1000, "done", 1000),
        (close_frame(1001), 1001, "", 1001),
        (close_frame(1011, "me too"), 1011, "me too", 1011),
        (close_frame(3000, "x"), 3000, "x", 3000),
        (close_frame(4000, "custom \u20ac"), 4000, "custom \u20ac", 4000),
        (close_frame(4999, "x" * 123), 4999, "x" * 123, 4999),
        (close_frame(), 1005, "", None),
    ],
    ids=["1000", "1000-reason", "1001", "1011", "3000", "4000", "longest", "none"],
)
def test_the_clients_close_reaches_the_application(
    site: Any, port: int, ws: Any, sent: bytes, code: int, reason: str, echoed: int | None
) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(sent)
    got = client.frame()
    assert got.opcode == CLOSE
    assert got.code in (echoed, 1000)
    client.closed()
    assert told(seen.next()) == (code, reason)


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_every_close_code_that_may_be_sent(site: Any, port: int, ws: Any, code: int) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(close_frame(code))
    assert client.frame().code == code
    client.closed()
    assert told(seen.next()) == (code, "")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_codes_that_may_not_be_sent(site: Any, port: int, ws: Any, code: int) -> None:
    site.app = echo
    client = ws(port).open()
    client.send(close_frame(code))
    assert client.frame().code == 1002
    client.closed()


def test_a_large_message_and_a_close_and_a_ping(site: Any, port: int, ws: Any) -> None:
    """The message is echoed, then the close; the ping behind it is not answered."""
    site.app = echo
    client = ws(port).open()
    client.send(frame(TEXT, b"x" * 262_144) + close_frame(1000) + frame(PING, b"late"))
    assert len(client.message()) == 262_144
    assert client.frame().code == 1000
    client.closed()


def test_messages_before_the_clients_close_are_delivered(site: Any, port: int, ws: Any) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(frame(TEXT, b"1") + frame(TEXT, b"2") + close_frame(4000, "bye"))
    assert seen.next()["text"] == "1"
    assert seen.next()["text"] == "2"
    assert told(seen.next()) == (4000, "bye")


@pytest.mark.parametrize(
    "late", [frame(TEXT, b"late"), frame(PING, b"late"), close_frame(1001), b"\xff" * 100]
)
def test_data_behind_the_clients_close_is_ignored(site: Any, port: int, ws: Any, late: bytes) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(close_frame(4000) + late)
    assert client.frame().code == 4000
    client.closed()
    assert told(seen.next())[0] == 4000
    seen.nothing()


def test_a_close_in_mid_fragmentation_is_a_normal_close(site: Any, port: int, ws: Any) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(frame(TEXT, b"part", fin=False) + close_frame(1000))
    assert client.frame().code == 1000
    client.closed()
    assert told(seen.next()) == (1000, "")


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_lost_client_is_1006(site: Any, port: int, ws: Any, how: str) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.text("x")
    seen.next()
    began = time.monotonic()
    getattr(client, how)()
    assert told(seen.next()) == (1006, "")
    assert time.monotonic() - began < 1.5


def test_a_client_that_ends_its_side_is_lost(site: Any, port: int, ws: Any) -> None:
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    client.send(frame(TEXT, b"last"))
    client.finish()
    assert seen.next()["text"] == "last"
    assert told(seen.next())[0] == 1006
    client.gone()


def test_a_client_that_leaves_before_accept(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.put("connecting")
        seen.put(told(await receive()))
        try:
            await send(ACCEPTED)
        except OSError as exc:
            seen.put(exc)

    site.app = app
    client = ws(port)
    client.send(handshake())
    assert seen.next() == "connecting"
    client.abort()
    assert seen.next()[0] == 1006
    assert isinstance(seen.next(), OSError)


def test_receive_behind_disconnect_does_not_hang(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        seen.put((await receive())["type"])
        try:
            async with asyncio.timeout(2):
                seen.put((await receive())["type"])
        except Exception as exc:
            seen.put(exc)

    site.app = app
    client = ws(port).open()
    client.abort()
    assert seen.next() == "websocket.disconnect"
    second = seen.next()
    assert second == "websocket.disconnect" or isinstance(second, RuntimeError | InvalidMessage | OSError)
    assert not isinstance(second, TimeoutError)


@pytest.mark.parametrize("kind", ["text", "bytes"])
@pytest.mark.parametrize("how", ["abort", "closing"])
def test_send_behind_a_disconnect_raises_an_oserror(
    site: Any, port: int, ws: Any, kind: str, how: str, logs: Any
) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        try:
            await send({"type": "websocket.send", kind: "x" if kind == "text" else b"x"})
        except Exception as exc:
            seen.put(exc)
            raise
        seen.put(None)

    site.app = app
    client = ws(port).open()
    if how == "abort":
        client.abort()
    else:
        client.send(close_frame(1000))
    assert isinstance(seen.next(), OSError)
    still = ws(port)
    site.app = echo
    still.open()
    assert logs.errors == [], "a client that leaves is no error"


# The end of the application


def test_a_crash_is_1011_at_once_with_one_record(site: Any, port: int, ws: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await receive()
        raise RuntimeError("the application is broken")

    site.app = app
    client = ws(port).open()
    began = time.monotonic()
    client.text("go")
    got = client.frame()
    assert time.monotonic() - began < 0.5
    assert (got.opcode, got.code) == (CLOSE, 1011)
    assert "broken" not in got.reason
    client.send(close_frame(1011))
    client.closed()
    logs.wait()
    assert len(logs.records) == 1
    assert "the application is broken" in str(logs.records[0].exc_info[1])


def test_a_crash_before_accept_is_500_with_one_record(site: Any, port: int, ws: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the application is broken")

    site.app = app
    client = ws(port)
    began = time.monotonic()
    client.send(handshake())
    response = client.response()
    assert time.monotonic() - began < 0.5
    assert response.status == 500
    assert b"broken" not in response.body
    logs.wait()
    assert len(logs.records) == 1


def test_a_crash_behind_the_disconnect_is_logged_once(site: Any, port: int, ws: Any, logs: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await receive()
        raise RuntimeError("cleaning up failed")

    site.app = app
    ws(port).open().abort()
    assert len(logs.wait()) == 1


def test_a_return_is_1000(site: Any, port: int, ws: Any, logs: Any) -> None:
    """The socket stayed open for ever in servers before this one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)

    site.app = app
    ws(port).open().closing(1000)
    assert logs.errors == []


def test_a_return_before_accept_is_a_refusal(site: Any, port: int, ws: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    site.app = app
    client = ws(port)
    client.send(handshake())
    assert client.response().status in (403, 500)


def test_an_application_that_never_answers_is_503(serve: Any, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.put((await receive())["type"])

    client = ws(serve(app, limits={"ws_open_timeout_s": 0.2}).port)
    client.send(handshake())
    assert client.response().status == 503
    assert seen.next() == "websocket.disconnect"


# What fails a connection (RFC 6455 section 7.1.7)

BAD_FRAMES = [
    (frame(TEXT, b"x", mask=None), 1002),
    (frame(TEXT, b"x", rsv=1), 1002),
    (frame(TEXT, b"x", rsv=2), 1002),
    (frame(TEXT, b"x", rsv=4), 1002),
    (frame(TEXT, b"x", rsv=7), 1002),
    (frame(0x3, b"x"), 1002),
    (frame(0x7, b"x"), 1002),
    (frame(0xB, b"x"), 1002),
    (frame(0xF), 1002),
    (frame(CONTINUATION, b"x"), 1002),
    (frame(CONTINUATION, b"x", fin=False), 1002),
    (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
    (frame(PING, b"x", fin=False), 1002),
    (frame(PING, b"x" * 126), 1002),
    (frame(PONG, b"x" * 126), 1002),
    (frame(PING, b"x", rsv=4), 1002),
    (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    (frame(CLOSE, b"x"), 1002),
    (close_frame(0), 1002),
    (close_frame(999), 1002),
    (close_frame(1004), 1002),
    (close_frame(1005), 1002),
    (close_frame(1006), 1002),
    (close_frame(1015), 1002),
    (close_frame(1016), 1002),
    (close_frame(2999), 1002),
    (close_frame(5000), 1002),
    (close_frame(65535), 1002),
    (close_frame(1000, b"\xff"), 1007),
    (frame(TEXT, b"\xff"), 1007),
    (frame(TEXT, b"\xc3"), 1007),
    (frame(TEXT, b"\xed\xa0\x80"), 1007),
    (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    (frame(TEXT, b"\xc0\xaf"), 1007),
    (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"x"), 1007),
    (frame(TEXT, b"\xff", fin=False), 1007),
    (frame(TEXT, b"ok", fin=False) + frame(CONTINUATION, b"\xff", fin=False), 1007),
    (b"\x82\xff" + b"\x80" + b"\0" * 7 + b"\0\0\0\0", 1002),
    (b"\x82\xff" + b"\x7f" + b"\xff" * 7 + b"\0\0\0\0", 1009),
    (b"\x82\xff" + struct.pack("!Q", (1 << 20) + 1) + b"\0\0\0\0", 1009),
]


@pytest.mark.parametrize(("bad", "code"), BAD_FRAMES, ids=lambda value: repr(value)[:50])
def test_bad_frames(site: Any, port: int, ws: Any, bad: bytes, code: int, logs: Any) -> None:
    """What stood before the bad frame, in the same segment, is delivered and answered first."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        seen.put(event)

    site.app = app
    client = ws(port).open()
    client.send(frame(TEXT, b"before") + bad + frame(TEXT, b"behind"))
    assert client.message() == "before"
    allowed = (1002, 1009) if bad.startswith(b"\x82\xff\x7f") else (code,)
    got = client.frame()
    assert got.opcode == CLOSE
    assert got.code in allowed
    client.send(close_frame(got.code))
    client.closed()
    assert told(seen.next())[0] in (*allowed, 1006)
    seen.nothing()
    assert logs.errors == [], "a client's fault is no error of ours"


@pytest.mark.parametrize(
    "payload",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
        b"\xff",
        b"fine until here \xc0\xaf",
        b"\xed\xa0\x80",
    ],
    ids=repr,
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_bad_text_fails_before_its_frame_is_complete(
    site: Any, port: int, ws: Any, payload: bytes, fragmented: bool
) -> None:
    """UTF-8 is judged as it comes in, so that nobody waits for the rest of what is wrong already."""
    site.app = echo
    client = ws(port).open()
    if fragmented:
        client.send(frame(TEXT, b"ok", fin=False))
    whole = frame(0 if fragmented else TEXT, payload + b"." * 300)
    for byte in whole[: len(whole) - 200]:
        client.send(bytes([byte]))
    assert client.frame().code == 1007


def test_good_text_byte_by_byte(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open()
    text = "\u03ba\u1f79\u03c3\u03bc\u03b5 \U0001f600 " * 5
    for byte in frame(TEXT, text.encode()):
        client.send(bytes([byte]))
    assert client.message() == text


def test_bad_frames_alone(site: Any, port: int, ws: Any) -> None:
    for bad, code in BAD_FRAMES:
        site.app = echo
        client = ws(port).open()
        client.send(bad)
        got = client.frame()
        assert got.opcode == CLOSE
        assert got.code == code or got.code in (1002, 1009), bad
        client.close()


def test_the_answer_of_a_slow_application_precedes_the_failure(site: Any, port: int, ws: Any) -> None:
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        event = await receive()
        await gate.wait()
        await send({"type": "websocket.send", "text": event["text"]})
        await receive()

    site.app = app
    client = ws(port).open()
    client.send(frame(TEXT, b"before") + frame(0x3, b""))
    select.select([client.socket], [], [], 0.05)
    gate.open()
    got = client.frame()
    if got.opcode == TEXT:
        assert got.payload == b"before"
        got = client.frame()
    assert (got.opcode, got.code) == (CLOSE, 1002)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fragmented", [False, True])
def test_too_big_is_1009(serve: Any, ws: Any, fragmented: bool, compressed: bool) -> None:
    """The limit holds while inflating; and it is a real close frame, not a dropped connection."""
    seen = Seen()
    client = ws(serve(listening(seen), limits={"ws_max_message_bytes": 1000}).port)
    client.open("/", *(["Sec-WebSocket-Extensions: permessage-deflate"] if compressed else []))
    rsv = 4 if compressed else 0

    def payload(size: int) -> bytes:
        return deflated(b"x" * size) if compressed else b"x" * size

    client.send(frame(BINARY, payload(1000), rsv=rsv))
    assert len(seen.next()["bytes"]) == 1000
    data = payload(1001)
    half = len(data) // 2
    if fragmented:
        client.send(frame(BINARY, data[:half], fin=False, rsv=rsv) + frame(CONTINUATION, data[half:]))
    else:
        client.send(frame(BINARY, data, rsv=rsv))
    client.closing(1009)
    assert told(seen.next())[0] in (1009, 1006)


def test_the_limit_is_raised_by_its_setting(serve: Any, ws: Any) -> None:
    client = ws(serve(echo, limits={"ws_max_message_bytes": 4 << 20}).port).open()
    client.send(frame(BINARY, b"x" * (4 << 20)))
    assert len(client.message()) == 4 << 20


@pytest.mark.parametrize("piece_bytes", [64, 1024, 65536])
def test_four_mebibytes_in_fragments(serve: Any, ws: Any, piece_bytes: int) -> None:
    client = ws(serve(echo, limits={"ws_max_message_bytes": 16 << 20}).port).open()
    middle = frame(CONTINUATION, b"y" * piece_bytes, fin=False) * ((4 << 20) // piece_bytes - 2)
    data = frame(BINARY, b"x" * piece_bytes, fin=False) + middle + frame(CONTINUATION, b"z" * piece_bytes)
    began = time.monotonic()
    client.send(data)
    message = client.message()
    assert len(message) == 4 << 20
    assert (message[:1], message[-1:]) == (b"x", b"z")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_sixteen_mebibytes(serve: Any, ws: Any, opcode: int) -> None:
    client = ws(serve(echo, limits={"ws_max_message_bytes": 16 << 20}).port).open()
    client.send(frame(opcode, b"x" * (16 << 20)))
    assert len(client.message()) == 16 << 20


def test_the_default_limit_is_one_mebibyte(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open()
    client.send(frame(BINARY, b"x" * (1 << 20)))
    assert len(client.message()) == 1 << 20
    client.send(frame(BINARY, b"x" * ((1 << 20) + 1)))
    client.closing(1009)


# permessage-deflate (RFC 7692)


@pytest.mark.parametrize(
    ("offer", "answered"),
    [
        (None, None),
        ("permessage-deflate", {}),
        ("permessage-deflate; client_max_window_bits", {}),
        ("permessage-deflate; client_max_window_bits=15", {}),
        ("permessage-deflate; client_max_window_bits=9", {}),
        ("permessage-deflate; server_max_window_bits=15", {}),
        ("permessage-deflate; server_max_window_bits=9", {"server_max_window_bits": "9"}),
        ("permessage-deflate; server_max_window_bits=10", {"server_max_window_bits": "10"}),
        ('permessage-deflate; server_max_window_bits="10"', {"server_max_window_bits": "10"}),
        ("permessage-deflate; server_no_context_takeover", {}),
        ("permessage-deflate; client_no_context_takeover", {}),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", {}),
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            {"server_max_window_bits": "12"},
        ),
        (
            "permessage-deflate;client_max_window_bits ; server_max_window_bits=11",
            {"server_max_window_bits": "11"},
        ),
        ("Permessage-Deflate", {}),
        ("x-webkit-deflate-frame", None),
        ("permessage-bzip2", None),
        ("permessage-bzip2, permessage-deflate", {}),
        ("permessage-deflate; unknown, permessage-deflate", {}),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits", {}),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=010", None),
        ("permessage-deflate; server_max_window_bits=x", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=x", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_no_context_takeover=yes", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=10", None),
    ],
)
def test_deflate_negotiation(site: Any, port: int, ws: Any, offer: str | None, answered: Any) -> None:
    """Always without context takeover, both ways; an offer that cannot be kept is declined, not failed."""
    site.app = echo
    client = ws(port).open("/", *([f"Sec-WebSocket-Extensions: {offer}"] if offer else []))
    if answered is None:
        assert client.extension is None
        client.text("plain")
        assert client.message() == "plain"
        return
    assert client.extension is not None
    name, *parameters = [part.strip() for part in client.extension.split(";")]
    assert name == "permessage-deflate"
    got = dict(parameter.partition("=")[::2] for parameter in parameters)
    assert len(got) == len(parameters)
    assert got.pop("server_no_context_takeover") == ""
    assert got.pop("client_no_context_takeover") == ""
    if "client_max_window_bits" in got:
        assert "client_max_window_bits" in offer, "only if it was offered"
        assert 8 <= int(got.pop("client_max_window_bits")) <= 15
    if "server_max_window_bits=15" in offer:
        got.pop("server_max_window_bits", None)
    assert got == answered
    bits = int(answered.get("server_max_window_bits", 15))
    for text in ("hello", "a longer text, " * 500):
        client.send(frame(TEXT, deflated(text.encode(), 9), rsv=4))
        reply = client.frame()
        assert (inflated(reply.payload, bits) if reply.rsv1 else reply.payload) == text.encode()


def test_deflate_window_of_eight_bits(site: Any, port: int, ws: Any) -> None:
    """zlib cannot write it: declined, or kept."""
    site.app = echo
    client = ws(port).open("/", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8")
    assert client.extension is None or "server_max_window_bits=8" in client.extension


@pytest.mark.parametrize("offer", ["permessage-deflate;;", "=", ";", 'permessage-deflate; a="', "@!"])
def test_malformed_extension_headers(site: Any, port: int, ws: Any, offer: str) -> None:
    site.app = echo
    client = ws(port)
    client.send(handshake("/", f"Sec-WebSocket-Extensions: {offer}"))
    assert client.response().status in (101, 400)


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


@pytest.mark.parametrize(
    "text",
    ["", "x", "hello " * 1000, "\u20ac" * 3000, "x" * 900_000],
    ids=lambda text: str(len(text)),
)
def test_compressed_messages(site: Any, port: int, ws: Any, text: str) -> None:
    site.app = echo
    client = ws(port).open("/", DEFLATE)
    for _ in range(3):
        client.send(frame(TEXT, deflated(text.encode()), rsv=4))
        assert client.message() == text


def test_large_messages_go_out_compressed(site: Any, port: int, ws: Any) -> None:
    site.app = saying(ACCEPTED, {"type": "websocket.send", "text": "hello " * 10_000})
    got = ws(port).open("/", DEFLATE).frame()
    assert got.rsv1
    assert len(got.payload) < 5000
    assert inflated(got.payload) == b"hello " * 10_000


def test_uncompressed_messages_are_allowed(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open("/", DEFLATE)
    client.send(frame(TEXT, b"plain") + frame(TEXT, deflated(b"packed"), rsv=4) + frame(BINARY, b"plain"))
    assert client.message() == "plain"
    assert client.message() == "packed"
    assert client.message() == b"plain"


def test_many_compressed_messages_in_one_segment(site: Any, port: int, ws: Any) -> None:
    """Inflating pauses for the application's sake; but every message comes, and nothing waits for more input."""
    site.app = echo
    client = ws(port).open("/", DEFLATE)
    client.send(frame(TEXT, deflated(b"x" * 700_000), rsv=4) * 10 + frame(TEXT, b"last") + frame(PING, b"p"))
    got: list[Any] = []
    while "last" not in got:
        item = client.frame()
        if item.opcode == TEXT:
            got.append((inflated(item.payload) if item.rsv1 else item.payload).decode())
    assert [len(text) for text in got] == [700_000] * 10 + [4]


def test_compressed_fragments(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    client = ws(port).open("/", DEFLATE)
    data = deflated(b"in several pieces " * 20)
    client.send(frame(TEXT, data[:5], fin=False, rsv=4) + frame(PING, b"p"))
    client.send(frame(CONTINUATION, data[5:9], fin=False) + frame(CONTINUATION, b"", fin=False))
    client.send(frame(CONTINUATION, data[9:]))
    assert client.frame().opcode == PONG
    assert client.message() == "in several pieces " * 20


@pytest.mark.parametrize(
    ("bad", "codes"),
    [
        (frame(TEXT, deflated(b"x"), rsv=6), (1002,)),
        (frame(PING, b"x", rsv=4), (1002,)),
        (frame(TEXT, deflated(b"xy")[:1], fin=False, rsv=4) + frame(CONTINUATION, b"y", rsv=4), (1002,)),
        (frame(TEXT, b"\xff\xff\xff\xff garbage", rsv=4), (1002, 1007)),
        (frame(TEXT, deflated(b"\xff\xfe"), rsv=4), (1007,)),
        (frame(TEXT, deflated(b"\xe2\x82"), rsv=4), (1007,)),
    ],
    ids=["rsv2", "ping", "continuation", "garbage", "not-utf-8", "cut-utf-8"],
)
def test_bad_compressed_frames(site: Any, port: int, ws: Any, bad: bytes, codes: Any) -> None:
    site.app = echo
    client = ws(port).open("/", DEFLATE)
    client.send(frame(TEXT, b"before") + bad)
    assert client.message() == "before"
    assert client.frame().code in codes


def test_a_bomb_is_1009(site: Any, port: int, ws: Any) -> None:
    """300 MB in 300 kB; the limit holds while inflating (memory is measured with the other abuse tests)."""
    site.app = echo
    client = ws(port).open("/", DEFLATE)
    bomb = deflated(b"\0" * (100 << 20))
    began = time.monotonic()
    client.send(frame(BINARY, bomb, rsv=4))
    client.closing(1009)
    assert time.monotonic() - began < 1


def test_compression_can_be_switched_off(serve: Any, ws: Any) -> None:
    client = ws(serve(echo, ws_compression=False).port).open("/", DEFLATE)
    assert client.extension is None


# Pings of the server


@pytest.fixture(scope="module")
def pinging() -> Any:
    site = Site()
    limits = Limits(
        ws_ping_interval_s=0.2, ws_ping_timeout_s=0.4, ws_close_timeout_s=0.3, ws_open_timeout_s=1
    )
    with running(site, limits=limits) as server:
        yield site, server.port


def test_the_server_pings_and_keeps_who_answers(pinging: Any, ws: Any) -> None:
    site, port = pinging
    site.app = echo
    client = ws(port).open()
    for _ in range(4):
        got = client.frame()
        assert got.opcode == PING
        client.send(frame(PONG, got.payload))
    client.text("alive")
    got = client.frame()
    while got.opcode == PING:
        got = client.frame()
    assert got.payload == b"alive"


def test_the_server_drops_who_does_not_answer(pinging: Any, ws: Any) -> None:
    site, port = pinging
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    began = time.monotonic()
    assert told(seen.next())[0] == 1006
    assert 0.3 < time.monotonic() - began < 2.5
    client.gone()


def test_other_frames_do_not_answer_a_ping_for_ever(pinging: Any, ws: Any) -> None:
    """A pong, or at least some sign of life, is what keeps a connection; silence is not."""
    site, port = pinging
    seen = Seen()
    site.app = listening(seen)
    client = ws(port).open()
    first = client.frame()
    assert first.opcode == PING
    client.send(frame(PONG, first.payload))
    second = client.frame()
    assert second.opcode == PING
    assert told(seen.next())[0] == 1006


def test_a_slow_reader_is_not_taken_for_dead(pinging: Any, ws: Any) -> None:
    """While it is behind, no ping can reach it in time; whether it takes anything is what counts then."""
    site, port = pinging
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        for _ in range(300):
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
        await send({"type": "websocket.send", "text": "done"})
        seen.put(await receive())

    site.app = app
    client = ws(port).open()
    messages = 0
    while True:
        got = client.frame()
        if got.opcode == PING:
            client.send(frame(PONG, got.payload))
            continue
        if got.opcode == TEXT:
            break
        messages += 1
        if messages % 30 == 0:
            select.select([], [], [], 0.2)
    assert messages == 300
    client.send(close_frame(1000))
    assert told(seen.next()) == (1000, "")


def test_a_dead_client_with_something_unsent_is_dropped(serve: Any, ws: Any) -> None:
    """Too little waits for the server to pause, and no ping goes out behind it: the write time-out counts."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await send({"type": "websocket.send", "bytes": b"x" * (24 << 20)})
        seen.put("written")
        seen.put(await receive())

    limits = {"write_buffer_bytes": 64 << 20, "write_timeout_s": 0.4, "ws_ping_interval_s": 0.2}
    ws(serve(app, limits=limits).port, receive_buffer=16384).open()
    assert seen.next() == "written"
    assert told(seen.next())[0] == 1006


def test_a_client_that_goes_while_reading_is_paused_is_noticed(pinging: Any, ws: Any) -> None:
    """Nobody reads the end of a connection that nobody reads from: a long handler would never hear of it."""
    site, port = pinging
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        scope["extensions"]["raceway.push"]["listen"](
            lambda event: seen.put(event) if event["type"] == "websocket.disconnect" else None
        )
        await asyncio.sleep(20)

    site.app = app
    client = ws(port, send_buffer=262144).open()
    client.send_until_blocked(frame(BINARY, b"x" * 60_000), most=128 << 20)
    client.abort()
    assert told(seen.next())[0] == 1006


def test_no_pings_when_switched_off(serve: Any, ws: Any) -> None:
    client = ws(serve(echo, limits={"ws_ping_interval_s": 0}).port).open()
    client.quiet(0.3)
    client.text("x")
    assert client.message() == "x"


# Back-pressure


def test_reading_pauses_while_the_application_does_not_receive(site: Any, port: int, ws: Any) -> None:
    """Over a gigabyte was queued in four seconds by servers before this one."""
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await gate.wait()
        while (event := await receive())["type"] == "websocket.receive":
            seen.put(len(event["bytes"]))
        seen.put("over")

    site.app = app
    client = ws(port, send_buffer=262144).open()
    piece = frame(BINARY, b"x" * 60_000)
    sent = client.send_until_blocked(piece, most=128 << 20)
    assert sent < 16 << 20
    gate.open()
    client.send(client.unsent + close_frame(1000))
    sizes = seen.until_quiet(0.5)
    assert sizes[-1] == "over"
    assert sum(sizes[:-1]) == -(-sent // len(piece)) * 60_000, "nothing is lost"


def test_a_flood_of_tiny_messages_is_bounded_too(site: Any, port: int, ws: Any) -> None:
    gate, seen = Gate(), Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await gate.wait()
        count = 0
        while (await receive())["type"] == "websocket.receive":
            count += 1
        seen.put(count)

    site.app = app
    client = ws(port, send_buffer=262144).open()
    piece = frame(TEXT, b"") * 1000
    sent = client.send_until_blocked(piece, most=64 << 20)
    assert sent < 16 << 20
    gate.open()
    client.send(client.unsent + close_frame(1000))
    assert seen.next(15) == -(-sent // len(piece)) * 1000


def test_send_waits_while_the_client_does_not_read(site: Any, port: int, ws: Any) -> None:
    """RSS grew by a gigabyte in three seconds in servers before this one."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        for number in range(1000):
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
            seen.put(number)
        await send({"type": "websocket.close"})

    site.app = app
    client = ws(port, receive_buffer=65536).open()
    assert len(seen.until_quiet(0.3)) * 65536 < 16 << 20
    for _ in range(1000):
        assert len(client.message()) == 65536
    client.closing(1000)


def test_a_waiting_send_raises_when_the_client_goes(site: Any, port: int, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 65536})
        except OSError as exc:
            seen.put(exc)

    site.app = app
    client = ws(port, receive_buffer=16384).open()
    assert seen.nothing(0.3)
    client.abort()
    assert isinstance(seen.next(), OSError)


def test_a_client_that_takes_nothing_is_dropped(serve: Any, ws: Any) -> None:
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 65536})
        except OSError:
            seen.put(told(await receive())[0])

    ws(serve(app, limits={"write_timeout_s": 0.4}).port, receive_buffer=16384).open()
    assert seen.next() == 1006


def test_piled_up_pings_are_answered_by_the_latest_pong(site: Any, port: int, ws: Any) -> None:
    """Pongs that a client does not read piled up to 256 MB in servers before this one."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        for _ in range(200):
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
            seen.put(1)
        seen.put("all")
        await receive()

    site.app = app
    client = ws(port, receive_buffer=16384).open()
    assert seen.until_quiet(0.3)[-1] == 1, "the client's buffers are full"
    pings = 50_000
    pad = b"." * 100
    for start in range(0, pings, 1000):
        client.send(b"".join(frame(PING, b"%d" % n + pad) for n in range(start, start + 1000)))
    pongs = []
    messages = 0
    while not (messages == 200 and pongs and pongs[-1].startswith(b"%d." % (pings - 1))):
        got = client.frame()
        if got.opcode == PONG:
            pongs.append(got.payload)
        else:
            messages += 1
    assert len(pongs) < 5000


def test_handlers_that_wait_do_not_stop_the_pongs(site: Any, port: int, ws: Any) -> None:
    gate = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await gate.wait()

    site.app = app
    client = ws(port).open()
    client.send(frame(TEXT, b"x") + frame(PING, b"p"))
    assert client.frame().payload == b"p"
    gate.open()


# With another implementation


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_the_websockets_client_agrees(site: Any, port: int, compression: Any) -> None:
    site.app = echo
    with websockets_connect(f"ws://127.0.0.1:{port}/", compression=compression, proxy=None) as client:
        for message in ("hello", b"\0\1", "", b"", "\u20ac" * 5000, b"x" * 200_000):
            client.send(message)
            assert client.recv(timeout=5) == message
        client.send(iter(["in ", "several ", "pieces"]))
        assert client.recv(timeout=5) == "in several pieces"
        assert client.ping().wait(5)
        client.close(4000, "bye")
    assert client.close_code == 4000


def test_many_sockets_at_once(site: Any, port: int, ws: Any) -> None:
    site.app = echo
    clients = [ws(port).open() for _ in range(200)]
    for number, client in enumerate(clients):
        client.text(str(number))
    for number, client in enumerate(clients):
        assert client.message() == str(number)
    for client in clients:
        client.send(close_frame(1000))
    for client in clients:
        assert client.frame().code == 1000
        client.closed()


def test_stock_asyncio(serve: Any, ws: Any) -> None:
    client = ws(serve(echo, loop_factory=asyncio.SelectorEventLoop).port).open("/", DEFLATE)
    for text in ("hello", "x" * 200_000):
        client.send(frame(TEXT, deflated(text.encode()), rsv=4))
        assert client.message() == text
    client.send(close_frame(4000, "bye"))
    assert client.frame().code == 4000
    client.closed()
