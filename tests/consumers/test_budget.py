"""What one message may cost above the server: Python calls inside the package, and callbacks of the loop.

The whole way, server included, is counted in ``tests/test_whole.py``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import raceway
from raceway import Group
from raceway.consumers import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from raceway.routing import ProtocolTypeRouter, URLRouter
from tests.consumers.driver import Socket, settle

PACKAGE = os.path.dirname(raceway.__file__)


async def calls_during(action: Callable[[], Awaitable[None]]) -> list[str]:
    calls: list[str] = []

    def profile(frame: Any, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls.append(frame.f_code.co_qualname)

    sys.setprofile(profile)
    try:
        await action()
    finally:
        sys.setprofile(None)
    return calls


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)


class JsonEcho(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json(content)


async def opened(consumer: Any) -> Socket:
    from django.urls import path

    application = ProtocolTypeRouter({"websocket": URLRouter([path("", consumer.as_asgi())])})
    socket = Socket(application.raceway_begin, lane=True)
    await socket.connect()
    await settle()
    return socket


async def test_an_echo_costs_seven_calls_above_the_server() -> None:
    socket = await opened(Echo)

    async def echo() -> None:
        socket.say("hello")
        assert await socket.text() == "hello"

    calls = await calls_during(echo)
    assert len(calls) <= 7, calls
    await socket.goodbye()


async def test_a_json_echo_costs_thirteen() -> None:
    socket = await opened(JsonEcho)

    async def echo() -> None:
        socket.say('{"a":1}')
        assert await socket.text() == '{"a":1}'

    calls = await calls_during(echo)
    assert len(calls) <= 13, calls
    await socket.goodbye()


async def test_an_echo_costs_one_callback_above_the_server_and_no_task() -> None:
    socket = await opened(Echo)
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    scheduled: list[Any] = []
    call_soon = loop.call_soon
    loop.call_soon = lambda *args, **kwargs: (scheduled.append(args), call_soon(*args, **kwargs))[1]  # type: ignore
    socket.say("hello")
    del loop.call_soon
    assert len(scheduled) <= 1  # the task wakes up; the server's joined write is the other
    assert asyncio.all_tasks() == before
    assert await socket.text() == "hello"
    await socket.goodbye()


async def test_routers_and_middleware_leave_the_stack() -> None:
    socket = await opened(Echo)
    frames = []
    awaited: Any = socket.task.get_coro()
    while hasattr(awaited, "cr_code"):
        frames.append(awaited.cr_code.co_qualname)
        awaited = awaited.cr_await
    assert frames == ["Runtime.run"]
    await socket.goodbye()


async def test_one_more_recipient_of_an_event_costs_few_calls() -> None:
    class Listening(AsyncWebsocketConsumer):
        groups = ["room"]

        async def news(self, event):
            heard.append(event)

    heard: list[Any] = []

    async def cost(size: int) -> int:
        sockets = [await opened(Listening) for _ in range(size)]
        heard.clear()

        async def publish() -> None:
            await Group("room").asend({"type": "news"})
            await settle()
            assert len(heard) == size

        calls = len(await calls_during(publish))
        for socket in sockets:
            await socket.goodbye()
        return calls

    few, many = await cost(2), await cost(52)
    assert (many - few) / 50 <= 4  # deliver, the task's frame, the lookup of its handler


async def test_one_more_recipient_of_a_client_message_costs_the_push() -> None:
    class Listening(AsyncWebsocketConsumer):
        groups = ["room"]

    async def cost(size: int) -> int:
        sockets = [await opened(Listening) for _ in range(size)]

        async def publish() -> None:
            await Group("room").abroadcast("news")
            await settle()

        calls = len(await calls_during(publish))
        for socket in sockets:
            assert await socket.text() == "news"
            await socket.goodbye()
        return calls

    few, many = await cost(2), await cost(52)
    assert many == few  # the fake server's push is not in the package
