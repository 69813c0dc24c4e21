"""A consumer is told that it may have missed messages of its groups."""

from __future__ import annotations

import asyncio
from typing import Any

from raceway.consumers import AsyncJsonWebsocketConsumer, WebsocketConsumer
from raceway.layers.memory import MemoryLayer
from tests.consumers.conftest import Open
from tests.consumers.driver import settle


async def test_members_are_told_once_and_others_not(open_socket: Open, layer: MemoryLayer) -> None:
    class Member(AsyncJsonWebsocketConsumer):
        groups = ["room", "other"]

        async def on_gap(self, reason: str) -> None:
            await self.send_json({"gap": reason})

    class Stranger(Member):
        groups = None

    member, stranger = open_socket(Member), open_socket(Stranger)
    for socket in (member, stranger):
        await socket.connect()
    await settle()
    layer.tell_gap("the broker was lost")
    layer.tell_gap("again, before anybody could be told")
    assert await member.text() == '{"gap":"the broker was lost"}'
    await settle()
    assert member.sent == []
    assert stranger.sent == []
    assert layer.gap_count == 2
    layer.tell_gap("later")
    assert await member.text() == '{"gap":"later"}'


async def test_it_waits_for_the_handler_in_hand_and_may_be_sync(
    open_socket: Open, layer: MemoryLayer
) -> None:
    go_on = asyncio.Event()

    class Member(WebsocketConsumer):
        groups = ["room"]

        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await go_on.wait()
            self.send("received")

        def on_gap(self, reason: str) -> None:
            self.send(reason)

    socket = open_socket(Member)
    await socket.connect()
    socket.say("hello")
    await settle()
    layer.tell_gap("lost")
    go_on.set()
    assert [await socket.text(), await socket.text()] == ["received", "lost"]


async def test_without_on_gap_nothing_happens(open_socket: Open, layer: MemoryLayer, caplog: Any) -> None:
    class Member(WebsocketConsumer):
        groups = ["room"]

        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.send(text_data)

    socket = open_socket(Member)
    await socket.connect()
    await settle()
    layer.tell_gap("lost")
    socket.say("still here")
    assert await socket.text() == "still here"
    assert [record.message for record in caplog.records] == [
        "Messages from other processes may have been missed: lost."
    ]
