"""``def`` handlers: in threads of their own, in order, and able to do everything."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import override_settings

from raceway import Group
from raceway.consumers import (
    AsyncWebsocketConsumer,
    HttpConsumer,
    JsonWebsocketConsumer,
    SseConsumer,
    WebsocketConsumer,
)
from raceway.errors import ClientDisconnected, InvalidMessage
from raceway.threads import in_test
from tests.consumers.conftest import Open
from tests.consumers.exchange import Exchange
from tests.waiting import until


async def test_everything_can_be_done_from_a_thread_and_in_order(open_socket: Open) -> None:
    class Sync(WebsocketConsumer):
        groups = ["room"]

        def connect(self):
            assert threading.current_thread() is not threading.main_thread()
            self.accept("v1")
            self.send("welcome")

        def receive(self, text_data=None, bytes_data=None):
            self.send(f"got {text_data}")
            self.send(bytes_data=b"raw")
            self.group_send("room", {"type": "said", "text": text_data})
            Group("room").broadcast("broadcast")

        def said(self, event):
            self.send(f"said {event['text']}", close=4000)

        def disconnect(self, code):
            codes.append(code)

    codes: list[int] = []
    socket = open_socket(Sync)
    assert await socket.connect() == {"type": "websocket.accept", "subprotocol": "v1"}
    assert await socket.text() == "welcome"
    socket.say("x")
    out = [await socket.next() for _ in range(5)]
    texts = [item[1] if isinstance(item, tuple) else item.get("text", item.get("bytes")) for item in out[:4]]
    assert texts == ["got x", b"raw", "broadcast", "said x"]
    assert out[4] == {"type": "websocket.close", "code": 4000}
    await socket.end()
    assert codes == [4000]


async def test_def_and_async_def_in_one_class(open_socket: Open) -> None:
    class Mixed(AsyncWebsocketConsumer):
        def connect(self):
            self.where = [threading.get_ident()]
            super().connect()

        async def receive(self, text_data=None, bytes_data=None):
            self.where.append(threading.get_ident())
            await self.send("async")

        def disconnect(self, code):
            self.where.append(threading.get_ident())
            places.append(self.where)

    places: list[list[int]] = []
    socket = open_socket(Mixed)
    await socket.connect()
    socket.say("x")
    assert await socket.text() == "async"
    await socket.goodbye()
    first, second, third = places[0]
    assert second == threading.get_ident()
    assert first != second != third


async def test_supers_work_from_threads(open_socket: Open) -> None:
    heard: list[Any] = []

    class Sync(JsonWebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            heard.append(text_data)
            super().receive(text_data, bytes_data)

        async def receive_json(self, content):
            heard.append((content, threading.current_thread() is threading.main_thread()))
            await self.send_json(content)

        def disconnect(self, code):
            super().disconnect(code)

    socket = open_socket(Sync)
    await socket.connect()
    socket.say("1")
    assert await socket.text() == "1"
    assert heard == ["1", (1, True)]
    await socket.goodbye()


async def test_exceptions_of_threads_are_the_connections(open_socket: Open) -> None:
    class Failing(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            raise ZeroDivisionError

    socket = open_socket(Failing)
    await socket.connect()
    socket.say("x")
    with pytest.raises(ZeroDivisionError):
        await socket.end()


async def test_a_bad_send_from_a_thread_ends_the_connection(open_socket: Open) -> None:
    class Failing(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.close(4000)

    socket = open_socket(Failing)
    await socket.connect()
    socket.send_error = ZeroDivisionError("the server refuses")
    socket.say("x")
    with pytest.raises(ZeroDivisionError):
        await socket.end()


async def test_no_connection_waits_for_anothers_thread(open_socket: Open) -> None:
    all_here = threading.Barrier(5)

    class Meeting(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            all_here.wait(5)  # breaks unless five run at a time
            self.send("met")

    sockets = [open_socket(Meeting) for _ in range(5)]
    for socket in sockets:
        await socket.connect()
        socket.say("x")
    assert [await socket.text() for socket in sockets] == ["met"] * 5


async def test_async_handlers_sync_to_async_does_not_wait_for_others_either(open_socket: Open) -> None:
    all_here = threading.Barrier(5)

    class Meeting(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await sync_to_async(all_here.wait)(5)
            await self.send("met")

    sockets = [open_socket(Meeting) for _ in range(5)]
    for socket in sockets:
        await socket.connect()
        socket.say("x")
    assert [await socket.text() for socket in sockets] == ["met"] * 5


@override_settings(RACEWAY={"SYNC_THREADS": 1})
async def test_a_connection_with_many_calls_keeps_no_other_waiting_for_all_of_them(open_socket: Open) -> None:
    class Greedy(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            async def call_on_and_on():
                while not other_is_served.is_set():
                    await sync_to_async(time.sleep)(0.001)

            calling.set()
            await asyncio.gather(call_on_and_on(), call_on_and_on(), call_on_and_on())

    class Modest(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send("served")

    calling, other_is_served = asyncio.Event(), asyncio.Event()
    greedy, modest = open_socket(Greedy), open_socket(Modest)
    await greedy.connect()
    await modest.connect()
    greedy.say("go")
    await calling.wait()
    modest.say("please")
    try:
        assert await modest.text() == "served"
    finally:
        other_is_served.set()
    await greedy.goodbye()


async def test_async_to_sync_in_a_handler_uses_the_connections_loop(open_socket: Open) -> None:
    loops: list[Any] = []

    class Habit(WebsocketConsumer):
        def connect(self):
            async_to_sync(self.channel_layer.group_add)("room", self.channel_name)
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            async_to_sync(self.channel_layer.group_send)("room", {"type": "said", "text": text_data})
            async_to_sync(self.look)()

        async def look(self):
            loops.append(asyncio.get_running_loop())

        def said(self, event):
            self.send(event["text"])

    socket = open_socket(Habit)
    await socket.connect()
    socket.say("x")
    assert await socket.text() == "x"
    assert loops == [asyncio.get_running_loop()]


async def test_a_thread_learns_that_the_client_has_gone(open_socket: Open) -> None:
    gone, seen = threading.Event(), []

    class Working(WebsocketConsumer):
        disconnect_grace_s = 0

        def receive(self, text_data=None, bytes_data=None):
            seen.append("began")
            gone.wait(5)
            assert self.closed
            with pytest.raises(ClientDisconnected):
                self.send("x")
            seen.append("noticed")

        def disconnect(self, code):
            seen.append(code)

    socket = open_socket(Working)
    await socket.connect()
    socket.say("x")
    socket.say("never handled")
    await until(lambda: seen)
    socket.leave(1001)
    asyncio.get_running_loop().call_later(0.01, gone.set)  # after the grace, which a thread outlasts
    await socket.end()
    assert seen == ["began", "noticed", 1001]


async def test_a_decorator_that_hides_an_async_def(open_socket: Open) -> None:
    def hide(function):
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    class Decorated(AsyncWebsocketConsumer):
        @hide
        async def receive(self, text_data=None, bytes_data=None):
            await self.send("found")

    socket = open_socket(Decorated)
    await socket.connect()
    socket.say("x")
    assert await socket.text() == "found"


async def test_a_thread_can_send_what_a_coroutine_can(open_socket: Open) -> None:
    class Sync(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            data = bytearray(b"first")
            self.send(bytes_data=data)
            data[:] = b"other"
            with pytest.raises(InvalidMessage, match="UTF-8"):
                self.send("\ud800")
            self.send("done")

    socket = open_socket(Sync)
    await socket.connect()
    socket.say("x")
    assert await socket.text() == b"first"
    assert await socket.text() == "done"


async def test_in_the_test_kit_nobody_is_lent_a_thread(open_socket: Open) -> None:
    class Sync(WebsocketConsumer):
        def connect(self):
            self.accept(threading.current_thread().name)

    in_test_kit = in_test.set(True)
    try:
        socket = open_socket(Sync)
        accepted = await socket.connect()
    finally:
        in_test.reset(in_test_kit)
    assert not accepted["subprotocol"].startswith("raceway-sync")
    await socket.goodbye()
    assert (await open_socket(Sync).connect())["subprotocol"].startswith("raceway-sync")


async def test_low_level_hooks_may_be_def_and_call_super(open_socket: Open) -> None:
    log: list[Any] = []

    class Low(WebsocketConsumer):
        def websocket_connect(self, event):
            super().websocket_connect(event)
            log.append("connected")

        def connect(self):
            log.append("connect")
            self.accept()

        def websocket_receive(self, event):
            super().websocket_receive(event)

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

        def websocket_disconnect(self, event):
            super().websocket_disconnect(event)

        def disconnect(self, code):
            log.append(code)

    socket = open_socket(Low)
    assert await socket.connect() == {"type": "websocket.accept"}
    socket.say("x")
    assert await socket.text() == "x"
    await socket.goodbye(1001)
    assert log == ["connect", "connected", 1001]


@pytest.mark.parametrize("kind", [HttpConsumer, SseConsumer])
async def test_so_may_those_of_requests(kind: Any) -> None:
    class Low(kind):
        def http_request(self, event):
            super().http_request(event)

        async def connect(self):
            await self.accept()
            await self.close()

        async def handle(self, body):
            await self.send_response(200, body)

    exchange = Exchange(Low).start()
    assert (await exchange.begun())[0] == 200
    await exchange.end()
