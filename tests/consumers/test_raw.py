"""Consumers of named channels and of any protocol."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from raceway import Channel, Group
from raceway.consumers import AsyncConsumer, SyncConsumer, handlers
from raceway.errors import ClientDisconnected, StopConsumer
from raceway.layers.memory import MemoryLayer
from tests.consumers.conftest import Open
from tests.consumers.driver import Socket, channels, settle
from tests.consumers.exchange import Exchange
from tests.waiting import until


class Listener:
    """The worker's side of one named channel."""

    def __init__(self, consumer: Any, **scope: Any) -> None:
        self.application = consumer.as_asgi()
        self.scope = {"type": "channel", "channel": "thumbnails", **scope}
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.ensure_future(self.application(self.scope, self.messages.get, self._send))

    async def _send(self, event: Any) -> None:
        raise AssertionError("there is nobody to send to")

    def put(self, *messages: Any) -> None:
        for message in messages:
            self.messages.put_nowait(message)


Listen = Callable[..., Listener]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    listeners: list[Listener] = []

    def listen(consumer: Any, **scope: Any) -> Listener:
        listeners.append(Listener(consumer, **scope))
        return listeners[-1]

    yield listen
    for listener in listeners:
        listener.task.cancel()
    await asyncio.gather(*(listener.task for listener in listeners), return_exceptions=True)


class Logged:
    log: list[Any]

    def __init_subclass__(cls) -> None:
        cls.log = []


# Named channels


async def test_one_instance_handles_all_messages_of_a_channel_in_order(listen: Listen) -> None:
    class Thumbnails(AsyncConsumer, Logged):
        def __init__(self, size=0):
            self.count = 0
            self.size = size

        async def thumbnail_make(self, event):
            self.count += 1
            await asyncio.sleep(0)
            self.log.append((event["n"], self.count, self.scope["channel"], self.size))

    listener = listen(Thumbnails)
    listener.task.cancel()
    application = Thumbnails.as_asgi(size=3)
    listener.task = asyncio.ensure_future(application(listener.scope, listener.messages.get, listener._send))
    listener.put(*({"type": "thumbnail.make", "n": number} for number in (1, 2, 3)))
    await until(lambda: len(Thumbnails.log) == 3)
    assert Thumbnails.log == [(number, number, "thumbnails", 3) for number in (1, 2, 3)]


async def test_def_handlers_run_in_a_thread(listen: Listen) -> None:
    class Thumbnails(SyncConsumer, Logged):
        def make(self, event):
            self.log.append(threading.current_thread() is threading.main_thread())
            Group("done").send({"type": "finished"})

        async def also(self, event):
            self.log.append(threading.current_thread() is threading.main_thread())

    listen(Thumbnails).put({"type": "make"}, {"type": "also"})
    await until(lambda: len(Thumbnails.log) == 2)
    assert Thumbnails.log == [False, True]


async def test_it_takes_one_message_at_a_time(listen: Listen) -> None:
    go_on = asyncio.Event()

    class Slow(AsyncConsumer, Logged):
        async def work(self, event):
            self.log.append(event["n"])
            await go_on.wait()

    listener = listen(Slow)
    listener.put(*({"type": "work", "n": number} for number in range(5)))
    await settle()
    assert (Slow.log, listener.messages.qsize()) == ([0], 4)  # another worker may take the others
    go_on.set()
    await until(lambda: len(Slow.log) == 5)


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "nobody"},
        {},
        {"type": 3},
        {"type": ["x"]},
        {"type": "_private"},
        {"type": "on_error"},
        {"type": "send"},
    ],
)
@pytest.mark.parametrize("also", ["websocket.disconnect", "channel.disconnect", "websocket.connect"])
async def test_a_bad_type_is_logged_once_and_kills_nobody(
    listen: Listen, bad: Any, also: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_unknown_types", set())

    class Robust(AsyncConsumer, Logged):
        async def work(self, event):
            self.log.append("work")

        async def _private(self, event):
            raise AssertionError

        async def websocket_connect(self, event):
            raise AssertionError

    listener = listen(Robust)
    with caplog.at_level(logging.WARNING):
        listener.put(bad, bad, {"type": also}, {"type": "work"})
        await until(lambda: Robust.log)
    assert len([r for r in caplog.records if f"of type {bad.get('type')!r}" in r.getMessage()]) == 1
    assert not listener.task.done()


async def test_a_failing_handler_is_logged_and_the_next_message_is_handled(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(AsyncConsumer, Logged):
        async def fail(self, event):
            raise ZeroDivisionError

        def work(self, event):
            self.log.append("work")

    listen(Failing).put({"type": "fail"}, {"type": "work"})
    await until(lambda: Failing.log)
    assert "failed at a message of type 'fail' in the channel 'thumbnails'" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_on_error_may_end_it(listen: Listen) -> None:
    class Strict(AsyncConsumer):
        async def work(self, event):
            raise ZeroDivisionError

        async def on_error(self, error, event):
            assert event == {"type": "work"}
            raise error

    listener = listen(Strict)
    listener.put({"type": "work"})
    with pytest.raises(ZeroDivisionError):
        await listener.task


async def test_stop_consumer_ends_it(listen: Listen, layer: MemoryLayer) -> None:
    class Stopping(AsyncConsumer):
        async def work(self, event):
            raise StopConsumer

    listener = listen(Stopping)
    listener.put({"type": "work"})
    await listener.task
    assert channels(layer) == []


async def test_it_has_a_channel_and_groups_of_its_own(listen: Listen, layer: MemoryLayer) -> None:
    class Member(AsyncConsumer, Logged):
        groups = ["workers"]

        async def work(self, event):
            self.log.append((event["n"], self.channel_name in channels(layer)))

    listener = listen(Member)
    await settle()
    await Group("workers").abroadcast("not for a worker")
    await Group("workers").asend({"type": "websocket.close"})
    await Group("workers").asend({"type": "work", "n": 1})
    (name,) = channels(layer)
    await Channel(name).asend({"type": "work", "n": 2})
    await until(lambda: len(Member.log) == 2)
    assert Member.log == [(1, True), (2, True)]
    listener.task.cancel()
    await settle()
    assert channels(layer) == []


async def test_it_has_nobody_to_send_to(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    class Sending(AsyncConsumer, Logged):
        async def work(self, event):
            await self.send({"type": "websocket.send", "text": "x"})

        async def more(self, event):
            self.log.append("more")

    listen(Sending).put({"type": "work"}, {"type": "more"})
    await until(lambda: Sending.log)
    assert r"The channel 'thumbnails' has no client to send to" in caplog.text


# Connections


async def test_a_raw_websocket(open_socket: Open, layer: MemoryLayer) -> None:
    class Raw(AsyncConsumer, Logged):
        groups = ["room"]

        async def websocket_connect(self, event):
            await self.send({"type": "websocket.accept", "subprotocol": "v1"})

        async def websocket_receive(self, event):
            await self.send({"type": "websocket.send", "text": event["text"].upper()})

        async def chat_message(self, event):
            await self.send({"type": "websocket.send", "text": event["text"]})

        async def websocket_disconnect(self, event):
            self.log.append(event["code"])
            raise StopConsumer

    socket = open_socket(Raw)
    assert await socket.connect() == {"type": "websocket.accept", "subprotocol": "v1"}
    socket.say("x")
    assert await socket.text() == "X"
    await Group("room").asend({"type": "chat.message", "text": "event"})
    assert await socket.text() == "event"
    await Group("room").asend({"type": "websocket.receive", "text": "not from the client"})
    await Group("room").abroadcast("pushed")
    assert await socket.text() == "pushed"
    await socket.goodbye(4321)
    assert Raw.log == [4321]
    assert channels(layer) == []


async def test_a_raw_websocket_needs_no_disconnect_and_unknown_events_are_dropped(open_socket: Open) -> None:
    class Raw(SyncConsumer):
        def websocket_connect(self, event):
            self.send({"type": "websocket.accept"})

    socket = open_socket(Raw)
    assert await socket.connect() == {"type": "websocket.accept"}
    socket.say("nobody hears this")
    await socket.goodbye()


async def test_a_raw_http_request(layer: MemoryLayer) -> None:
    class Raw(AsyncConsumer, Logged):
        async def http_request(self, event):
            self.log.append(event["body"])
            if not event["more_body"]:
                await self.send(
                    {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x")]}
                )
                await self.send({"type": "http.response.body", "body": b"".join(self.log)})

        async def http_disconnect(self, event):
            self.log.append("disconnect")

    exchange = Exchange(Raw).start(None)
    exchange.upload(b"a", more_body=True)
    exchange.upload(b"b")
    await exchange.begun()
    assert await exchange.body() == b"ab"
    await exchange.end()
    assert Raw.log == [b"a", b"b", "disconnect"]


async def test_a_raw_http_response_with_trailers_is_complete_behind_them() -> None:
    class Raw(AsyncConsumer):
        async def http_request(self, event):
            await self.send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
            await self.send({"type": "http.response.body", "body": b"x"})
            await self.send({"type": "http.response.trailers", "headers": []})

    exchange = Exchange(Raw).start()
    await exchange.begun()
    await exchange.body()
    assert (await exchange.next())["type"] == "http.response.trailers"
    await exchange.end()


async def test_any_other_protocol() -> None:
    class Telegram(AsyncConsumer, Logged):
        async def telegram_message(self, event):
            await self.send({"type": "telegram.reply", "text": event["text"]})

        async def telegram_disconnect(self, event):
            self.log.append(self.closed)
            with pytest.raises(ClientDisconnected):
                await self.send({"type": "telegram.reply"})

    socket = Socket(Telegram.as_asgi(), lane=False, type="telegram")
    socket._queue.put_nowait({"type": "telegram.message", "text": "hi"})
    socket.task = asyncio.ensure_future(socket.application(socket.scope, socket._receive, socket._send))
    assert await socket.next() == {"type": "telegram.reply", "text": "hi"}
    socket.put({"type": "telegram.unknown"})
    socket.put({"type": "telegram.disconnect"})
    await socket.end()
    assert Telegram.log == [True]


async def test_on_error_raises_for_connections(open_socket: Open) -> None:
    class Failing(AsyncConsumer):
        async def websocket_connect(self, event):
            raise ZeroDivisionError

    socket = open_socket(Failing)
    socket.start()
    with pytest.raises(ZeroDivisionError):
        await socket.end()
