"""Server-sent events: the stream, what is pushed to it, and its ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from raceway import Channel, Group, clock
from raceway.consumers import SseConsumer
from raceway.errors import AcceptConnection, ClientDisconnected, DenyConnection
from raceway.layers.memory import MemoryLayer
from raceway.prepared import SSE, PreparedMessage
from raceway.wire import sse
from tests.consumers.driver import members, settle
from tests.consumers.exchange import Exchange
from tests.waiting import until

Open = Callable[..., Exchange]


@pytest.fixture
async def open_stream() -> AsyncIterator[Open]:
    """Begin requests, which are all ended with the test."""
    exchanges: list[Exchange] = []

    def open_stream(
        application: Any, method: str = "GET", *headers: tuple[bytes, bytes], **scope: Any
    ) -> Exchange:
        exchanges.append(Exchange(application, method, headers=list(headers), **scope).start())
        return exchanges[-1]

    yield open_stream
    for exchange in exchanges:
        exchange.task.cancel()
    await asyncio.gather(*(exchange.task for exchange in exchanges), return_exceptions=True)


class Stream(SseConsumer):
    """Notes what happens in a list of its own class."""

    log: list[Any] = []
    groups = ["news"]

    def __init_subclass__(cls) -> None:
        cls.log = []

    async def disconnect(self):
        self.log.append(("disconnect", self.closed))

    async def headline(self, event):
        await self.send_json(event["json"], event="headline", id=event["id"], retry_ms=10)


async def accepted(exchange: Exchange) -> Exchange:
    assert (await exchange.begun())[0] == 200
    assert await exchange.body() == b": \n\n"
    return exchange


async def test_the_default_accepts_with_the_headers_of_a_stream(open_stream: Open) -> None:
    exchange = open_stream(SseConsumer)
    assert await exchange.begun() == (
        200,
        {
            b"content-type": b"text/event-stream; charset=utf-8",
            b"cache-control": b"no-cache",
            b"x-accel-buffering": b"no",
        },
    )
    # Something follows the head at once: servers wait for it.
    assert await exchange.next() == {"type": "http.response.body", "body": b": \n\n", "more_body": True}


async def test_accept_takes_headers(open_stream: Open) -> None:
    class Own(SseConsumer):
        async def connect(self):
            await self.accept(headers={"X-A": "b", "Cache-Control": "no-store"})

    _, headers = await open_stream(Own).begun()
    assert (headers[b"x-a"], headers[b"cache-control"]) == (b"b", b"no-store")


async def test_events_of_all_kinds(open_stream: Open) -> None:
    class Sending(SseConsumer):
        async def connect(self):
            await self.accept()
            await self.send("one\ntwo")
            await self.send(b"bytes")
            await self.send("x", event="named", id="7", retry_ms=500)
            await self.send("", id="")
            await self.send_json({"a": [1, None]})

    exchange = await accepted(open_stream(Sending))
    assert [await exchange.body() for _ in range(5)] == [
        b"data: one\ndata: two\n\n",
        b"data: bytes\n\n",
        b"event: named\nid: 7\nretry: 500\ndata: x\n\n",
        b"id: \ndata: \n\n",
        b'data: {"a":[1,null]}\n\n',
    ]


async def test_def_methods_work(open_stream: Open) -> None:
    class Sync(Stream):
        def connect(self):
            assert threading.current_thread() is not threading.main_thread()
            self.accept()
            self.send("welcome")

        def ping(self, event):
            self.send("pong")
            self.close()
            with pytest.raises(ClientDisconnected):
                self.send("late")

        def disconnect(self):
            self.log.append("disconnect")

    exchange = await accepted(open_stream(Sync))
    assert await exchange.body() == b"data: welcome\n\n"
    await Group("news").asend({"type": "ping"})
    assert await exchange.body() == b"data: pong\n\n"
    assert await exchange.next() == {"type": "http.response.body", "body": b"", "more_body": False}
    await exchange.end()
    assert Sync.log == ["disconnect"]


async def test_it_knows_where_the_browser_was(open_stream: Open) -> None:
    class Resuming(SseConsumer):
        async def connect(self):
            await self.accept()
            await self.send(repr(self.last_event_id))

    for headers, text in ([(b"last-event-id", "ü7".encode())], b"'\xc3\xbc7'"), ([], b"None"):
        exchange = await accepted(open_stream(Resuming, "GET", *headers))
        assert await exchange.body() == b"data: " + text + b"\n\n"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda self: self.send({"a": 1}), TypeError),
        (lambda self: self.send("x", event="two\nlines"), ValueError),
        (lambda self: self.send("x", id="a\0"), ValueError),
        (lambda self: self.send("x", retry_ms=-1), ValueError),
        (lambda self: self.send_json(object()), TypeError),
    ],
)
async def test_what_is_no_event(open_stream: Open, call: Any, error: type[Exception]) -> None:
    class Mistaken(SseConsumer):
        async def connect(self):
            await self.accept()
            call(self)

    with pytest.raises(error):
        await open_stream(Mistaken).end()


# Groups


async def test_a_broadcast_arrives_encoded_once(open_stream: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(Stream): ...

    made: list[PreparedMessage] = []
    form = PreparedMessage.form

    def count(message: PreparedMessage, kind: int, encode: Any) -> bytes:
        if kind not in message.forms:
            made.append(message)
        return form(message, kind, encode)

    exchanges = [await accepted(open_stream(Quiet)) for _ in range(3)]
    monkeypatch.setattr(PreparedMessage, "form", count)
    await Group("news").abroadcast({"n": 1})
    for exchange in exchanges:
        assert await exchange.next() == {
            "type": "http.response.body",
            "body": b'data: {"n":1}\n\n',
            "more_body": True,
        }
    assert len(made) == 1
    assert made[0].forms == {SSE: b'data: {"n":1}\n\n'}


async def test_an_event_runs_its_handler(open_stream: Open) -> None:
    class Quiet(Stream): ...

    exchange = await accepted(open_stream(Quiet))
    await Group("news").asend({"type": "headline", "json": "x", "id": "1"})
    assert await exchange.body() == b'event: headline\nid: 1\nretry: 10\ndata: "x"\n\n'
    await Group("news").asend({"type": "websocket.send", "text": "more keys", "n": 1})
    assert await exchange.body() == b"data: more keys\n\n"


async def test_a_class_can_intercept(open_stream: Open) -> None:
    class Loud(Stream):
        async def websocket_send(self, event):
            await self.send(event["text"].upper())

    exchange = await accepted(open_stream(Loud))
    await Group("news").abroadcast("x")
    assert await exchange.body() == b"data: X\n\n"


async def test_binary_messages_are_dropped_and_that_is_said_once(
    open_stream: Open, caplog: pytest.LogCaptureFixture
) -> None:
    class Quiet(Stream): ...

    exchange = await accepted(open_stream(Quiet))
    for data in (b"\xff", b"\xfe", "text"):
        await Group("news").abroadcast(data)
    assert await exchange.body() == b"data: text\n\n"
    assert caplog.text.count("binary message") == 1


async def test_pushes_wait_for_accept_and_go_with_a_refusal(open_stream: Open) -> None:
    go_on = asyncio.Event()

    class Slow(Stream):
        async def connect(self):
            self.log.append("connect")
            await go_on.wait()
            await (self.accept() if self.scope["path"] == "/" else self.close())

    exchanges = [open_stream(Slow, path=path) for path in ("/", "/no")]
    await until(lambda: len(Slow.log) == 2)
    await Group("news").abroadcast("early")
    await settle()
    assert not exchanges[0].sent
    go_on.set()
    assert (await exchanges[0].begun())[0] == 200
    assert await exchanges[0].body() == b"data: early\n\n"
    assert (await exchanges[1].begun())[0] == 403
    await exchanges[1].end()
    assert await exchanges[1].body() == b"Forbidden\n"


async def test_a_group_and_the_authorization_end_it(open_stream: Open) -> None:
    class Quiet(Stream): ...

    exchange = await accepted(open_stream(Quiet))
    await Group("news").asend({"type": "websocket.close", "code": 4401})
    assert await exchange.next() == {"type": "http.response.body", "body": b"", "more_body": False}
    await exchange.end()
    exchange = open_stream(Quiet, **{"raceway.expires_at": clock.now() + 0.02})
    await accepted(exchange)
    assert (await exchange.next())["more_body"] is False
    await exchange.end()
    assert Quiet.log == [("disconnect", True)] * 2


async def test_nothing_follows_the_end(open_stream: Open, layer: MemoryLayer) -> None:
    go_on = asyncio.Event()

    class Slow(Stream):
        async def headline(self, event):
            await self.close()

        async def disconnect(self):
            self.log.append(self.channel_name)
            await go_on.wait()

    exchange = await accepted(open_stream(Slow))
    await Group("news").asend({"type": "headline"})
    await until(lambda: Slow.log)
    await Channel(Slow.log[0]).asend({"text": "late"})
    await settle()
    go_on.set()
    await exchange.end()
    assert exchange.sent == [{"type": "http.response.body", "body": b"", "more_body": False}]


# Refusals


@pytest.mark.parametrize("how", ["close", "deny"])
async def test_connect_can_refuse(open_stream: Open, how: str, layer: MemoryLayer) -> None:
    class Refusing(Stream):
        async def connect(self):
            if how == "deny":
                raise DenyConnection
            await self.close()

    exchange = open_stream(Refusing)
    assert (await exchange.begun())[0] == 403
    await exchange.end()
    assert Refusing.log == [("disconnect", True)]
    assert members(layer, "news") == []


async def test_connect_can_raise_its_acceptance(open_stream: Open) -> None:
    class Accepting(Stream):
        async def connect(self):
            raise AcceptConnection

    await accepted(open_stream(Accepting))


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
async def test_other_methods_are_405(open_stream: Open, method: str) -> None:
    class Unused(Stream): ...

    status, headers = await open_stream(Unused, method).begun()
    assert (status, headers[b"allow"]) == (405, b"GET")
    assert Unused.log == []


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (b"text/event-stream", 200),
        (b"text/html, Text/Event-Stream;q=0.5", 200),
        (b"text/*;q=1", 200),
        (b"*/*", 200),
        (b" ", 200),
        (b"text/html, application/json", 406),
        (b"text/event-stream;q=0", 406),
        (b"text/event-stream;q=0.00", 406),
    ],
)
async def test_who_cannot_read_it_is_told(open_stream: Open, accept: bytes, status: int) -> None:
    exchange = open_stream(SseConsumer, "GET", (b"accept", accept))
    assert (await exchange.begun())[0] == status


async def test_a_body_is_not_read(open_stream: Open) -> None:
    class Quiet(Stream): ...

    exchange = Exchange(Quiet)
    exchange.upload(b"x", more_body=True)
    exchange.upload(b"y")
    exchange.start(None)
    await accepted(exchange)
    await settle()
    exchange.leave()
    await exchange.end()
    assert Quiet.log == [("disconnect", True)]


# The end


async def test_a_client_that_leaves_is_noticed_at_once(open_stream: Open, layer: MemoryLayer) -> None:
    class Endless(Stream):
        async def connect(self):
            await self.accept()
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")

    exchange = await accepted(open_stream(Endless))
    exchange.leave()
    await settle()
    assert exchange.task.done()
    assert Endless.log == ["cancelled", ("disconnect", True)]
    assert members(layer, "news") == []


async def test_an_exception_is_raised_for_the_server(open_stream: Open) -> None:
    class Failing(Stream):
        async def headline(self, event):
            raise ZeroDivisionError

    exchange = await accepted(open_stream(Failing))
    await Group("news").asend({"type": "headline"})
    with pytest.raises(ZeroDivisionError):
        await exchange.end()
    assert Failing.log == [("disconnect", True)]


async def test_a_client_that_is_too_slow_sees_the_stream_end(
    open_stream: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quiet(Stream): ...

    monkeypatch.setattr("raceway.consumers.outbox.SLOW_CLIENT_S", 0.02)
    exchange = await accepted(open_stream(Quiet))
    exchange.may_send.clear()
    await Group("news").abroadcast("first")
    await settle()
    for _ in range(3):
        await Group("news").abroadcast("x" * 100_000)
    await until(lambda: Quiet.log)
    assert Quiet.log == [("disconnect", True)]
    exchange.may_send.set()
    assert await exchange.body() == b"data: first\n\n"
    assert await exchange.next() == {"type": "http.response.body", "body": b"", "more_body": False}
    await exchange.end()


async def test_policies_touch_pushes(open_stream: Open) -> None:
    class Quiet(Stream): ...

    exchange = await accepted(open_stream(Quiet))
    exchange.may_send.clear()
    await Group("news").abroadcast("first")
    await settle()
    for number in range(3):
        await Group("news").abroadcast(str(number), policy="latest")
    exchange.may_send.set()
    assert [await exchange.body(), await exchange.body()] == [b"data: first\n\n", b"data: 2\n\n"]


# Signs of life


async def test_a_quiet_stream_shows_that_it_is_alive(open_stream: Open) -> None:
    class Quiet(Stream):
        keep_alive_s = 0.01

    exchange = await accepted(open_stream(Quiet))
    for _ in range(2):
        assert await exchange.next() == {
            "type": "http.response.body",
            "body": sse.comment(),
            "more_body": True,
        }
    exchange.may_send.clear()
    await asyncio.sleep(0.1)  # ten beats, none of which waits for the client that reads nothing
    exchange.may_send.set()
    await settle()
    assert len(exchange.sent) <= 2
    exchange.leave()
    await exchange.end()


@pytest.mark.parametrize("interval_s", [None, 30])
async def test_the_beat_ends_with_the_stream(open_stream: Open, interval_s: Any) -> None:
    class Timed(Stream):
        keep_alive_s = interval_s

    handles: list[Any] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def remember(delay: float, *args: Any, **kwargs: Any) -> Any:
        handle = call_later(delay, *args, **kwargs)
        if delay == 30:
            handles.append(handle)
        return handle

    loop.call_later = remember  # type: ignore[method-assign]
    try:
        exchange = await accepted(open_stream(Timed))
    finally:
        del loop.call_later
    assert len(handles) == (0 if interval_s is None else 1)
    exchange.leave()
    await exchange.end()
    assert all(handle.cancelled() for handle in handles)
