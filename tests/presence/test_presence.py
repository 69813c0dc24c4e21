"""Presence as consumers have it, on the memory layer."""

from __future__ import annotations

import asyncio
import datetime
import threading
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings

from raceway import Presence
from raceway.consumers import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    SseConsumer,
    websocket_consumer,
)
from raceway.errors import MessageTooLarge
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer
from raceway.layers.roster import DIFF_PER_MEMBER_S, DIFF_WINDOW_S
from raceway.presence import META_BYTES
from raceway.testing import Clock, connect, connect_sse

people = Presence("documents")
FRY = User(pk=1, username="fry")
LEELA = User(pk=2, username="leela")
WINDOW_S = DIFF_WINDOW_S + 10 * DIFF_PER_MEMBER_S


def as_user(user: Any) -> dict[str, Any]:
    return {"scope": {"user": user}}


class Page(AsyncJsonWebsocketConsumer):
    """Says on which page its person is, and hears of the others."""

    async def connect(self):
        await people.join(self, page=self.scope["path"])
        await self.accept()

    async def receive_json(self, content):
        if content == "leave":
            await people.leave(self)
        else:
            await people.join(self, page=content)

    async def presence_diff(self, event):
        await self.send_json([event[kind] for kind in ("joined", "changed", "left")])


class SyncPage(JsonWebsocketConsumer):
    """The same in threads."""

    def connect(self):
        people.join(self, page=self.scope["path"])
        self.accept()

    def receive_json(self, content):
        if content == "leave":
            people.leave(self)
        else:
            people.join(self, page=content)

    def presence_diff(self, event):
        self.send_json([event[kind] for kind in ("joined", "changed", "left")])


class Board(AsyncJsonWebsocketConsumer):
    """Watches, without being there."""

    async def connect(self):
        await self.accept()
        await people.watch(self)
        await self.send_json(await people.alist())

    async def receive_json(self, content):
        if content == "here":
            await people.join(self)
        elif content == "away":
            await people.leave(self)
        else:
            await people.unwatch(self)

    async def presence_diff(self, event):
        await self.send_json([sorted(event[kind]) for kind in ("joined", "changed", "left")])


pages = pytest.mark.parametrize("page", [Page, SyncPage])


@pages
async def test_two_tabs_of_one_person_until_the_grace_is_over(page: Any) -> None:
    with Clock() as clock:
        async with connect(page, "/board/", **as_user(LEELA)) as leela:
            await leela.expect_json([{"2": [{"page": "/board/"}]}, {}, {}])
            await clock.advance(WINDOW_S)
            async with connect(page, "/moon/", **as_user(FRY)):
                await leela.expect_json([{"1": [{"page": "/moon/"}]}, {}, {}])
                await clock.advance(WINDOW_S)
                async with connect(page, "/mars/", **as_user(FRY)):
                    await leela.expect_json([{}, {"1": [{"page": "/moon/"}, {"page": "/mars/"}]}, {}])
                    assert await people.acount() == 2
                    await clock.advance(WINDOW_S)
                await leela.expect_json([{}, {"1": [{"page": "/moon/"}]}, {}])
            await clock.advance(14)
            await leela.expect_nothing(0.01)
            assert await people.alist() == {"2": [{"page": "/board/"}], "1": [{"page": "/moon/"}]}
            await clock.advance(1)
            await leela.expect_json([{}, {}, {"1": [{"page": "/moon/"}]}])
            assert await people.acount() == 1


@pages
def test_the_same_in_a_plain_test(page: Any) -> None:
    with Clock() as clock, connect(page, "/board/", **as_user(LEELA)) as leela:
        leela.expect_json([{"2": [{"page": "/board/"}]}, {}, {}])
        clock.advance(WINDOW_S)
        with connect(page, "/moon/", **as_user(FRY)) as fry:
            leela.expect_json([{"1": [{"page": "/moon/"}]}, {}, {}])
            clock.advance(WINDOW_S)
            fry.send_json("/mars/")
            leela.expect_json([{}, {"1": [{"page": "/mars/"}]}, {}])
            assert people.list() == {"2": [{"page": "/board/"}], "1": [{"page": "/mars/"}]}
        clock.advance(15)
        leela.expect_json([{}, {}, {"1": [{"page": "/mars/"}]}])


@pages
async def test_a_reconnect_is_hidden(page: Any) -> None:
    with Clock() as clock:
        async with connect(page, "/board/", **as_user(LEELA)) as leela:
            await leela.receive()
            async with connect(page, "/moon/", **as_user(FRY)):
                await clock.advance(WINDOW_S)
                await leela.receive()
            await clock.advance(10)
            async with connect(page, "/moon/", **as_user(FRY)):
                await clock.advance(60)
                await leela.expect_nothing(0.01)


@pages
async def test_leaving_is_at_once(page: Any) -> None:
    async with connect(page, **as_user(FRY)) as fry:
        await fry.receive()
        await fry.send_json("leave")
        await fry.expect_nothing(0.2)
        assert await people.alist() == {}
        await fry.send_json("/mars/")
        assert await fry.receive_json() == [{"1": [{"page": "/mars/"}]}, {}, {}]


async def test_joining_again_does_not_tell_twice() -> None:
    async with connect(Page, **as_user(FRY)) as fry, connect(Board) as board:
        await fry.receive()
        await board.expect_json({"1": [{"page": "/"}]})
        for page in ("/mars/", "/moon/"):
            await fry.send_json(page)
            await fry.expect_json([{}, {"1": [{"page": page}]}, {}])
            await board.expect_json([[], ["1"], []])
        await fry.expect_nothing(0.1)


async def test_watching_and_being_there_are_apart() -> None:
    with Clock() as clock:
        async with connect(Board, **as_user(FRY)) as fry:
            await fry.expect_json({})
            assert await people.acount() == 0
            await fry.send_json("here")
            await fry.expect_json([["1"], [], []])
            await clock.advance(WINDOW_S)
            await fry.send_json("away")
            await fry.expect_json([[], [], ["1"]])
            await clock.advance(WINDOW_S)
            await fry.send_json("here")
            await fry.expect_json([["1"], [], []])
            await fry.send_json("unwatch")
            await fry.expect_nothing(0.05)
            await clock.advance(WINDOW_S)
            async with connect(Page, **as_user(LEELA)):
                await fry.expect_json([["2"], [], []])
                await clock.advance(WINDOW_S)
                await fry.send_json("away")
            await clock.advance(20)
            await fry.expect_nothing(0.05)


async def test_a_consumer_without_the_method_is_not_told() -> None:
    class Silent(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await people.join(self)

        async def receive(self, text_data=None, bytes_data=None):
            await people.watch(self)

        def on_error(self, error, event):
            self.send(str(error))

    async with connect(Silent, **as_user(FRY)) as fry:
        await fry.expect_nothing(0.05)
        assert await people.acount() == 1
        await fry.send("watch")
        assert "cannot watch a presence: it has no method presence_diff(self, event)" in await fry.receive()


async def test_functions_and_event_streams_join_too() -> None:
    @websocket_consumer
    async def function(socket: Any) -> None:
        await people.join(socket, key="function")
        async for _ in socket:
            pass

    class Stream(SseConsumer):
        async def connect(self):
            await self.accept()
            await people.join(self, key="stream")

        async def presence_diff(self, event):
            await self.send(" ".join(event["joined"]))

    async with connect_sse(Stream) as stream, connect(function):
        await stream.expect_event("stream")
        await stream.expect_event("function")
        assert await people.acount() == 2


async def test_who_it_is() -> None:
    keys: list[Any] = [None, FRY, "somebody", 7]

    class Guest(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await people.join(self, keys[int(text_data)])
            await self.send(" ".join(await people.alist()))

        async def on_error(self, error, event):
            await self.send(str(error))

    async with connect(Guest, **as_user(AnonymousUser())) as guest:
        await guest.send("0")
        assert (
            "no user that is signed in, so name the person: join(consumer, key=...)" in await guest.receive()
        )
        for number, key in ((1, "1"), (2, "somebody"), (3, "7")):
            await guest.send(str(number))
            await guest.expect_text(key)
    async with connect(Guest) as guest:
        await guest.send("0")
        assert "no user that is signed in" in await guest.receive()
        for key in ("", "x" * 201):
            keys[0] = key
            await guest.send("0")
            assert f"1 to 200 characters, not {len(key)}" in await guest.receive()


async def test_metadata_is_what_layers_carry_and_small() -> None:
    errors: list[Exception] = []
    given: dict[str, Any] = {}

    class Guest(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await people.join(self, key="fry", **given)
            await self.send("joined")

        async def on_error(self, error, event):
            errors.append(error)
            await self.send("failed")

    async with connect(Guest) as guest:
        given["since"] = [datetime.date(3000, 1, 1)]
        await guest.send("")
        await guest.expect_text("failed")
        assert isinstance(errors[0], TypeError)
        assert "['since'][0] is of type date" in str(errors[0])

        given["since"] = "x" * META_BYTES
        await guest.send("")
        await guest.expect_text("failed")
        assert isinstance(errors[1], MessageTooLarge)
        assert "at most 4096" in str(errors[1])

        given["since"] = deep = []
        for _ in range(236):
            deep.append([])
            deep = deep[0]
        await guest.send("")
        await guest.expect_text("joined")
        deep.append([[]])
        await guest.send("")
        await guest.expect_text("failed")
        assert "nested deeper than 240 levels" in str(errors[2])

        given["since"] = place = [(1, 2)]
        await guest.send("")
        await guest.expect_text("joined")
        place.append((3, 4))
        roll = await people.alist()
        assert roll == {"fry": [{"since": [[1, 2]]}]}
        roll["fry"][0].clear()
        assert await people.alist() == {"fry": [{"since": [[1, 2]]}]}


@pytest.mark.parametrize("grace_s", [0, 3])
async def test_the_grace_is_that_of_the_presence_or_the_setting(grace_s: float) -> None:
    of_its_own = Presence("kitchen", grace_s=grace_s)

    class Cook(AsyncWebsocketConsumer):
        async def connect(self):
            await of_its_own.join(self, key="cook")
            await people.join(self, key="cook")
            await self.accept()

    with override_settings(RACEWAY={"PRESENCE_GRACE_S": grace_s}), Clock() as clock:
        async with connect(Cook):
            assert await of_its_own.acount() == await people.acount() == 1
        assert await of_its_own.acount() == await people.acount() == (1 if grace_s else 0)
        await clock.advance(grace_s)
        assert await of_its_own.acount() == await people.acount() == 0


async def test_a_loops_thread_is_told_to_await() -> None:
    for ask, twin in ((people.count, "acount"), (people.list, "alist")):
        with pytest.raises(RuntimeError, match=rf"await {twin}\(\) instead"):
            ask()


async def test_a_connection_that_has_ended_is_nowhere() -> None:
    class Late(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await people.join(self)

        async def disconnect(self, code):
            await people.join(self)
            await people.watch(self)

        async def presence_diff(self, event):
            """Not asked for."""

    with Clock() as clock:
        async with connect(Late, **as_user(FRY)):
            pass
        await clock.advance(15)
        assert await people.alist() == {}


async def test_a_loop_that_ends_takes_its_connections_with_it() -> None:
    class Here(AsyncWebsocketConsumer):
        async def connect(self):
            await Presence("kitchen", grace_s=0).join(self, key="fry")
            await self.accept()

    loop = asyncio.new_event_loop()

    async def open_and_go() -> None:
        connection = connect(Here)
        await connection.__aenter__()
        assert await Presence("kitchen").acount() == 1

    def run() -> None:
        loop.run_until_complete(open_and_go())
        for task in asyncio.all_tasks(loop):
            task.get_coro().close()  # as if it had been forgotten
        loop.close()

    await asyncio.to_thread(run)
    assert await Presence("kitchen").acount() == 0


async def test_a_layer_of_another_alias_or_without_presence() -> None:
    class Guest(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await Presence("kitchen", alias="other").join(self, key="fry")

        async def on_error(self, error, event):
            await self.send(str(error))

    channel_layers.set("other", MemoryLayer())
    try:
        async with connect(Guest) as guest:
            await guest.send("")
            told = await guest.receive()
            assert told.startswith("Presence('kitchen') is on the layer 'other', and ")
            assert told.endswith("Guest on 'default': give the presence that alias.")
    finally:
        channel_layers.set("other", None)


@pytest.mark.parametrize("name", ["", "a b", "a" * 100, None])
def test_a_name_that_cannot_be(name: Any) -> None:
    with pytest.raises(TypeError, match="Presence name must be"):
        Presence(name)


@pytest.mark.parametrize("grace_s", [-1, float("nan")])
def test_a_grace_that_cannot_be(grace_s: float) -> None:
    with pytest.raises(ValueError, match="grace_s is a number of seconds, not"):
        Presence("documents", grace_s=grace_s)


def test_how_it_looks() -> None:
    assert str(people) == "documents"
    assert repr(people) == "Presence('documents')"


async def test_threads_that_come_and_go_lose_nobody() -> None:
    """Loops in several threads share one roster."""
    rooms = Presence("rooms", grace_s=0)

    class Guest(AsyncWebsocketConsumer):
        async def connect(self):
            await rooms.join(self, key=str(threading.get_ident()))
            await self.accept()

    async def visit() -> None:
        for _ in range(20):
            async with connect(Guest):
                assert str(threading.get_ident()) in await rooms.alist()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, visit()) for _ in range(4)))
    assert await rooms.alist() == {}
