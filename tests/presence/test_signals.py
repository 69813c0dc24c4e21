"""What Django is told of presences."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from raceway import Presence
from raceway import presence as module
from raceway.consumers import AsyncWebsocketConsumer
from raceway.signals import presence_joined, presence_left
from raceway.testing import Clock, connect
from tests.consumers.driver import Socket
from tests.project.database import User, in_thread, make_user
from tests.waiting import until

people = Presence("ships-crew")


class Guest(AsyncWebsocketConsumer):
    async def connect(self):
        await people.join(self, key=self.scope["path"], at="sea")
        await self.accept()


class Told:
    """A receiver that notes what it is called with, and lets a test wait for it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.threads: list[int] = []
        self.came = threading.Event()

    def joined(self, sender: str, key: str, metas: Any, **kwargs: Any) -> None:
        self._note("joined", key, metas)

    def left(self, sender: str, key: str, metas: Any, **kwargs: Any) -> None:
        self._note("left", key, metas)

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        self.threads.append(threading.get_ident())
        self.came.set()

    async def next(self, number: int) -> list[tuple[str, str, Any]]:
        """All calls, when there are ``number``."""
        while len(self.calls) < number:
            assert await asyncio.to_thread(self.came.wait, 5)
            self.came.clear()
        return self.calls


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    presence_joined.connect(told.joined, sender=people.name)
    presence_left.connect(told.left, sender=people.name)
    yield told
    presence_joined.disconnect(told.joined, sender=people.name)
    presence_left.disconnect(told.left, sender=people.name)


async def test_a_person_joins_and_leaves_once(told: Told) -> None:
    with Clock() as clock:
        async with connect(Guest, "/fry/"):
            async with connect(Guest, "/fry/"):
                pass
            await clock.advance(60)
        await clock.advance(14)
        assert await told.next(1) == [("joined", "/fry/", [{"at": "sea"}])]
        await clock.advance(1)
        assert await told.next(2) == [
            ("joined", "/fry/", [{"at": "sea"}]),
            ("left", "/fry/", [{"at": "sea"}]),
        ]


async def test_who_is_back_in_time_is_not_signalled(told: Told) -> None:
    with Clock() as clock:
        for _ in range(3):
            async with connect(Guest, "/fry/"):
                await clock.advance(1)
            await clock.advance(14)
        assert await told.next(1) == [("joined", "/fry/", [{"at": "sea"}])]
        await clock.advance(60)
        assert len(await told.next(2)) == 2


async def test_receivers_run_in_threads_and_may_use_the_database(told: Told) -> None:
    await in_thread(make_user, "fry")
    names: list[str] = []

    def read(sender: str, key: str, **kwargs: Any) -> None:
        names.append(User.objects.get(username=key.strip("/")).username)

    presence_joined.connect(read, sender=people.name)
    try:
        socket = Socket(Guest.as_asgi(), lane=True, path="/fry/")  # as a server has it: with threads
        await socket.connect()
        await told.next(1)
        await socket.goodbye()
        await until(lambda: names)
    finally:
        presence_joined.disconnect(read, sender=people.name)
    assert names == ["fry"]
    assert threading.get_ident() not in told.threads


async def test_a_receiver_that_fails_stops_no_other(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(sender: str, **kwargs: Any) -> None:
        raise ZeroDivisionError("in the receiver")

    presence_joined.connect(failing, sender=people.name)
    try:
        async with connect(Guest, "/fry/"), connect(Guest, "/leela/"):
            assert [key for _, key, _ in await told.next(2)] == ["/fry/", "/leela/"]
    finally:
        presence_joined.disconnect(failing, sender=people.name)
    assert "in the receiver" in caplog.text


async def test_changes_that_receivers_are_too_slow_for_are_dropped_and_told_of(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WAITING_SIGNALS", 2)
    with caplog.at_level(logging.WARNING, "raceway.presence"):
        for number in range(5):  # in one pass of the loop: no receiver has its turn
            module.signal_change(people.name, "joined", str(number), [])
        assert [key for _, key, _ in await told.next(2)] == ["0", "1"]
        await until(lambda: len(caplog.messages) == 2)
    assert caplog.messages == [
        "Receivers of presence signals are too slow: 2 changes wait, newer ones are dropped.",
        "3 changes of presences were dropped, and not signalled.",
    ]
    module.signal_change(people.name, "left", "5", [])
    assert (await told.next(3))[-1] == ("left", "5", [])


async def test_another_presence_is_another_sender(told: Told) -> None:
    module.signal_change("kitchen", "joined", "zoidberg", [])
    module.signal_change("".join(["ships-", "crew"]), "joined", "fry", [])
    assert await told.next(1) == [("joined", "fry", [])]
