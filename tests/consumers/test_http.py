"""HTTP consumers: whole responses, streams, long polls, and clients that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.test import override_settings

from raceway import Channel, Group, clock
from raceway.consumers import AsyncHttpConsumer, AsyncWebsocketConsumer, HttpConsumer
from raceway.errors import ClientDisconnected, DenyConnection, InvalidMessage
from raceway.layers.memory import MemoryLayer
from raceway.routing import ConnectMiddleware
from tests.consumers.driver import Socket, channels, settle
from tests.consumers.exchange import Exchange
from tests.waiting import until

Open = Callable[..., Exchange]


@pytest.fixture
async def open_request() -> AsyncIterator[Open]:
    """Begin requests, which are all ended with the test."""
    exchanges: list[Exchange] = []

    def open_request(application: Any, body: bytes | None = b"", **scope: Any) -> Exchange:
        exchanges.append(Exchange(application, **scope).start(body))
        return exchanges[-1]

    yield open_request
    for exchange in exchanges:
        exchange.task.cancel()
    await asyncio.gather(*(exchange.task for exchange in exchanges), return_exceptions=True)


class Noting(AsyncHttpConsumer):
    """Notes what happens in a list of its own class."""

    log: list[Any]

    def __init_subclass__(cls) -> None:
        cls.log = []

    async def disconnect(self):
        self.log.append("disconnect")


class Posting(Noting):
    """A handler of this name may answer later."""

    async def answer(self, event):
        await self.send_response(200, event["text"].encode())


# Whole responses


async def test_a_whole_response(open_request: Open, layer: MemoryLayer) -> None:
    class Hello(Noting):
        async def handle(self, body):
            await self.send_response(201, b"hello " + body, headers=[(b"Content-Type", b"text/plain")])

    exchange = open_request(Hello, b"leela")
    status, headers = await exchange.begun()
    assert (status, headers) == (201, {b"content-type": b"text/plain", b"content-length": b"11"})
    assert await exchange.next() == {"type": "http.response.body", "body": b"hello leela", "more_body": False}
    await exchange.end()
    assert Hello.log == ["disconnect"]
    assert channels(layer) == []


@pytest.mark.parametrize("headers", [{"X-A": "1"}, {b"x-a": b"1"}, [("x-a", "1")], [(b"X-A", b"1")]])
async def test_headers_in_any_shape(open_request: Open, headers: Any) -> None:
    class Headers(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, b"", headers=headers)

    assert (await open_request(Headers).begun())[1] == {b"x-a": b"1", b"content-length": b"0"}


async def test_a_stream(open_request: Open) -> None:
    class Stream(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers(headers=[("content-type", "text/plain")])
            piece = bytearray(b"a")
            sent = self.send_body(piece, more_body=True)
            piece[:] = b"changed"  # too late
            await sent
            await self.send_body(memoryview(b"b"), more_body=True)
            await self.send_body(b"")

    exchange = open_request(Stream)
    await exchange.begun()
    assert [await exchange.body() for _ in range(3)] == [b"a", b"b", b""]
    await exchange.end()


async def test_handlers_may_be_def(open_request: Open) -> None:
    class Sync(HttpConsumer):
        def handle(self, body):
            assert threading.current_thread() is not threading.main_thread()
            self.send_headers(status=202)
            self.send_body(b"a", more_body=True)
            self.send_body(b"b")

        def disconnect(self):
            gone.append(threading.current_thread() is not threading.main_thread())

    gone: list[bool] = []
    exchange = open_request(Sync)
    assert (await exchange.begun())[0] == 202
    assert [await exchange.body(), await exchange.body()] == [b"a", b"b"]
    await exchange.end()
    assert gone == [True]


async def test_a_body_comes_whole(open_request: Open) -> None:
    class Upload(AsyncHttpConsumer):
        async def handle(self, body):
            assert type(body) is bytes
            await self.send_response(200, body)

    exchange = open_request(Upload, None, method="POST")
    for piece in (b"one ", b"", b"two "):
        exchange.upload(piece, more_body=True)
    await settle()
    assert exchange.sent == []
    exchange.upload(b"three")
    await exchange.begun()
    assert await exchange.body() == b"one two three"


@pytest.mark.parametrize("where", ["class", "settings"])
async def test_a_body_above_the_limit_is_413(open_request: Open, where: str) -> None:
    class Small(Noting):
        max_body_bytes = 10 if where == "class" else None

        async def handle(self, body):
            self.log.append(body)
            await self.send_response(200, b"")

    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10):
        exchange = open_request(Small, b"x" * 10)
        assert (await exchange.begun())[0] == 200
        exchange = open_request(Small, None, method="POST")
        exchange.upload(b"x" * 6, more_body=True)
        exchange.upload(b"x" * 5, more_body=True)
        assert (await exchange.begun())[0] == 413
        await exchange.end()
    assert Small.log == [b"x" * 10, "disconnect", "disconnect"]


async def test_the_handler_goes_on_behind_its_response(open_request: Open) -> None:
    go_on = asyncio.Event()

    class Busy(Noting):
        async def handle(self, body):
            await self.send_response(200, b"ok")
            await go_on.wait()
            self.log.append("done")

    exchange = open_request(Busy)
    await exchange.begun()
    await exchange.body()
    await settle()  # the server says http.disconnect now
    go_on.set()
    await exchange.end()
    assert Busy.log == ["done", "disconnect"]


async def test_initkwargs_and_scope(open_request: Open) -> None:
    class Curious(AsyncHttpConsumer):
        greeting = "hello"

        def __init__(self, greeting):
            self.greeting = greeting

        async def handle(self, body):
            await self.send_response(200, f"{self.greeting} {self.scope['path']} {self.user}".encode())

    exchange = open_request(Curious.as_asgi(greeting="hey"), path="/there", user="fry")
    await exchange.begun()
    assert await exchange.body() == b"hey /there fry"


# Mistakes


@pytest.mark.parametrize(
    ("mistake", "error", "text"),
    [
        (lambda self: self.send_body(b"x"), InvalidMessage, "headers of a response come before its body"),
        (lambda self: (self.send_headers(), self.send_headers()), InvalidMessage, "headers are sent once"),
        (lambda self: [self.send_response(200, b"") for _ in "12"], InvalidMessage, "is complete"),
        (lambda self: self.send_response(200, "text"), TypeError, r"body.encode\(\)"),
    ],
)
@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_what_cannot_be_sent(
    open_request: Open, mistake: Any, error: type[Exception], text: str, kind: str
) -> None:
    class Async(AsyncHttpConsumer):
        async def handle(self, body):
            mistake(self)

    class Sync(HttpConsumer):
        def handle(self, body):
            mistake(self)

    exchange = open_request(Async if kind == "async def" else Sync)
    with pytest.raises(error, match=text):
        await exchange.end()


async def test_a_class_without_handle_says_so(open_request: Open) -> None:
    with pytest.raises(NotImplementedError, match=r"needs a method handle\(self, body\)"):
        await open_request(AsyncHttpConsumer).end()


async def test_an_exception_is_raised_for_the_server(open_request: Open, layer: MemoryLayer) -> None:
    class Failing(Noting):
        async def handle(self, body):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await open_request(Failing).end()
    assert Failing.log == ["disconnect"]
    assert channels(layer) == []


async def test_on_error_may_answer(open_request: Open) -> None:
    class Kind(Noting):
        async def handle(self, body):
            raise ZeroDivisionError

        async def on_error(self, error, event):
            await self.send_response(400, repr(error).encode())

    exchange = open_request(Kind)
    assert (await exchange.begun())[0] == 400
    await exchange.end()


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_what_the_server_says_of_a_response_that_nobody_awaited_is_not_lost(kind: str) -> None:
    class Sync(HttpConsumer):
        def handle(self, body):
            self.send_response(200, b"")

    class Async(HttpConsumer):
        async def handle(self, body):
            self.send_response(200, b"")

    exchange = Exchange(Async if kind == "async def" else Sync)
    exchange.send_error = ZeroDivisionError()
    exchange.start()
    with pytest.raises(ZeroDivisionError):
        await exchange.end()


@pytest.mark.parametrize("begins", [True, False])
async def test_a_response_that_nobody_can_give_any_more_is_an_error(open_request: Open, begins: bool) -> None:
    class Forgetful(Noting):
        async def handle(self, body):
            if begins:
                await self.send_headers()
                await self.send_body(b"x", more_body=True)

    what = "completing its response" if begins else "a response"
    with pytest.raises(
        RuntimeError, match=rf"Forgetful.handle\(\) returned without {what}, and .* no handler"
    ):
        await open_request(Forgetful).end()
    assert Forgetful.log == ["disconnect"]


async def test_without_a_layer_no_handler_can_answer_later(open_request: Open) -> None:
    class Alone(Posting):
        channel_layer_alias = "missing"

        async def handle(self, body): ...

    with pytest.raises(RuntimeError, match="returned without a response"):
        await open_request(Alone).end()


# Long polls


@pytest.mark.parametrize("begins", [True, False])
async def test_a_long_poll_is_answered_by_a_handler(open_request: Open, begins: bool) -> None:
    class Poll(Noting):
        groups = ["polls"]

        async def handle(self, body):
            if begins:
                await self.send_headers()
                await self.send_body(b"", more_body=True)

        async def news(self, event):
            if not begins:
                await self.send_headers()
            await self.send_body(event["text"].encode())

    exchange = open_request(Poll)
    await settle()
    assert not exchange.task.done()
    await Group("polls").asend({"type": "news", "text": "late"})
    await exchange.begun()
    if begins:
        assert await exchange.body() == b""
    assert await exchange.body() == b"late"
    await exchange.end()
    assert Poll.log == ["disconnect"]


async def test_events_behind_the_response_are_not_handled(open_request: Open, layer: MemoryLayer) -> None:
    class Poll(Posting):
        async def handle(self, body): ...

    exchange = open_request(Poll)
    await settle()
    (name,) = channels(layer)
    for text in ("first", "second"):
        await Channel(name).asend({"type": "answer", "text": text})
    await exchange.begun()
    assert await exchange.body() == b"first"
    await exchange.end()


async def test_client_messages_are_no_answer(
    open_request: Open, layer: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(Posting):
        groups = ["polls"]

        async def handle(self, body): ...

    exchange = open_request(Deaf)
    await settle()
    await Group("polls").abroadcast("text")
    await Group("polls").asend({"type": "websocket.send", "text": "x", "more": 1})
    await Group("polls").asend({"type": "answer", "text": "x"})
    await exchange.begun()
    assert await exchange.body() == b"x"
    assert caplog.text.count("Deaf has no handler for messages of type 'websocket.send'") == 1


@pytest.mark.parametrize("begins", [True, False])
async def test_a_group_can_end_it(open_request: Open, begins: bool) -> None:
    class Poll(Posting):
        groups = ["polls"]

        async def handle(self, body):
            if begins:
                await self.send_headers()
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")

    exchange = open_request(Poll)
    await until(lambda: exchange.sent or not begins)
    await settle()
    await Group("polls").asend({"type": "websocket.close"})
    assert (await exchange.begun())[0] == (200 if begins else 403)
    await exchange.end()
    assert Poll.log == ["cancelled", "disconnect"]


@pytest.mark.parametrize("begins", [True, False])
async def test_what_a_group_ends_is_sent_also_to_a_slow_client(begins: bool) -> None:
    class Poll(Posting):
        groups = ["polls"]

        async def handle(self, body):
            if begins:
                await self.send_headers()

    exchange = Exchange(Poll).start()
    if begins:
        await exchange.begun()
    await settle()
    exchange.may_send.clear()
    await Group("polls").asend({"type": "websocket.close"})
    await settle()
    assert not exchange.task.done()
    exchange.may_send.set()
    await exchange.end()
    assert exchange.sent[-1]["body"] == (b"" if begins else b"Forbidden\n")


async def test_it_ends_with_its_authorization(open_request: Open) -> None:
    class Poll(Posting):
        async def handle(self, body): ...

    exchange = open_request(Poll, **{"raceway.expires_at": clock.now() - 1})
    assert (await exchange.begun())[0] == 403
    await exchange.end()
    assert Poll.log == ["disconnect"]


# Clients that leave


async def test_a_client_that_leaves_cancels_the_handler_at_once(
    open_request: Open, layer: MemoryLayer
) -> None:
    class Endless(Noting):
        async def handle(self, body):
            await self.send_headers()
            self.log.append("began")
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append(("cancelled", self.closed))

    exchange = open_request(Endless)
    await until(lambda: Endless.log)
    exchange.leave()
    await settle()
    assert exchange.task.done()
    await exchange.end()
    assert Endless.log == ["began", ("cancelled", True), "disconnect"]
    assert channels(layer) == []


async def test_a_client_that_leaves_ends_a_long_poll(open_request: Open) -> None:
    class Poll(Posting):
        async def handle(self, body): ...

    exchange = open_request(Poll)
    await settle()
    exchange.leave()
    await exchange.end()
    assert Poll.log == ["disconnect"]


async def test_a_client_that_leaves_within_its_body_is_not_handled(open_request: Open) -> None:
    class Upload(Noting):
        async def handle(self, body):
            self.log.append(body)

    exchange = open_request(Upload, None)
    exchange.upload(b"half", more_body=True)
    await settle()
    exchange.leave()
    await exchange.end()
    assert Upload.log == ["disconnect"]


async def test_a_client_that_leaves_before_it_is_handled(open_request: Open) -> None:
    class Late(Noting):
        async def handle(self, body):
            self.log.append("handle")

    exchange = open_request(Late)
    exchange.leave()
    await exchange.end()
    assert Late.log == ["disconnect"]


async def test_a_handler_that_saw_its_client_leave_owes_no_response(open_request: Open) -> None:
    left = asyncio.Event()

    class Attentive(Noting):
        disconnect_grace_s = 60

        async def handle(self, body):
            self.log.append("began")
            await left.wait()
            assert self.closed

    exchange = open_request(Attentive)
    await until(lambda: Attentive.log)
    exchange.leave()
    await settle()
    left.set()
    await exchange.end()
    assert Attentive.log == ["began", "disconnect"]


async def test_a_client_that_was_never_there(open_request: Open) -> None:
    class Unused(Noting): ...

    exchange = Exchange(Unused)
    exchange.leave()
    exchange.start(None)
    await exchange.end()
    assert Unused.log == []


async def test_a_thread_cannot_be_stopped_and_its_sends_raise(open_request: Open) -> None:
    go_on = threading.Event()
    seen: list[Any] = []

    class Sync(HttpConsumer):
        def handle(self, body):
            seen.append("began")
            go_on.wait(5)
            try:
                self.send_response(200, b"")
            except ClientDisconnected:
                seen.append("gone")
                raise

        def disconnect(self):
            seen.append("disconnect")

    exchange = open_request(Sync)
    await until(lambda: seen)
    exchange.leave()
    await settle()
    go_on.set()
    await exchange.end()
    assert seen == ["began", "gone", "disconnect"]


async def test_a_client_that_is_too_slow_is_given_up(
    open_request: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fast(Noting):
        async def handle(self, body):
            self.send_headers()
            await asyncio.sleep(0)
            for _ in range(100):
                self.send_body(b"x" * 100_000, more_body=True)

    monkeypatch.setattr("raceway.consumers.outbox.SLOW_CLIENT_S", 0)
    exchange = Exchange(Fast)
    exchange.may_send.clear()
    exchange.start()
    await exchange.end()
    assert Fast.log == ["disconnect"]
    assert exchange.sent == []  # no end of the body: it is to look cut off


async def test_who_is_too_slow_at_the_very_end_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fast(Noting):
        async def handle(self, body):
            self.send_headers()
            await asyncio.sleep(0)
            for _ in range(11):
                self.send_body(b"x" * 100_000, more_body=True)
            self.send_body(b"one too many")

    monkeypatch.setattr("raceway.consumers.outbox.SLOW_CLIENT_S", 0)
    exchange = Exchange(Fast)
    exchange.may_send.clear()
    exchange.start()
    await exchange.end()
    assert Fast.log == ["disconnect"]


# Where it stands


async def test_middleware_that_denies_is_403(open_request: Open) -> None:
    class Denying(ConnectMiddleware):
        async def prepare(self, scope):
            raise DenyConnection

    class Unused(Noting): ...

    exchange = open_request(Denying(Unused.as_asgi()))
    assert (await exchange.begun())[0] == 403
    await exchange.end()
    assert Unused.log == []


async def test_a_websocket_at_its_address_is_refused() -> None:
    socket = Socket(AsyncHttpConsumer.as_asgi(), lane=False)
    assert await socket.connect() == {"type": "websocket.close"}
    await socket.end()


async def test_a_request_at_the_address_of_a_websocket_is_told(open_request: Open) -> None:
    exchange = open_request(AsyncWebsocketConsumer)
    status, headers = await exchange.begun()
    assert (status, headers[b"upgrade"]) == (426, b"websocket")
