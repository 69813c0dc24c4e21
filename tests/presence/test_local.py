"""Presence between processes of one machine, with a real broker. A second layer object stands for another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from raceway import Presence
from raceway.consumers import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from raceway.layers import channel_layers
from raceway.layers.local import LocalLayer
from raceway.layers.local.serving import BrokerHost
from raceway.signals import presence_joined, presence_left
from raceway.testing import connect
from tests.waiting import until

pytestmark = pytest.mark.shell

HERE, THERE = "here", "there"
people = {alias: Presence("documents", grace_s=0.2, alias=alias) for alias in (HERE, THERE)}


class Page(AsyncJsonWebsocketConsumer):
    channel_layer_alias = HERE

    async def connect(self):
        await people[self.channel_layer_alias].join(self, key=self.scope["path"], at="sea")
        await self.accept()

    async def receive_json(self, content):
        await people[self.channel_layer_alias].leave(self)

    async def presence_diff(self, event):
        await self.send_json([event[kind] for kind in ("joined", "changed", "left")])

    async def on_gap(self, reason):
        await self.send_json({"all": await people[self.channel_layer_alias].alist()})


class PageThere(Page):
    channel_layer_alias = THERE


class SyncPageThere(JsonWebsocketConsumer):
    channel_layer_alias = THERE

    def connect(self):
        people[THERE].join(self, key=self.scope["path"], at="sea")
        self.accept()


class Machine(NamedTuple):
    here: LocalLayer
    there: LocalLayer


@pytest.fixture
def host(broker_path: Path) -> Iterator[BrokerHost]:
    host = BrokerHost(broker_path)
    host.start()
    yield host
    host.stop()


@pytest.fixture
def another(broker_path: Path) -> Iterator[BrokerHost]:
    """A broker for later."""
    host = BrokerHost(broker_path)
    yield host
    host.stop()


@pytest.fixture
async def machine(broker_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    monkeypatch.setenv("RACEWAY_SUPERVISED", "1")  # the broker is the test's
    machine = Machine(LocalLayer(path=broker_path), LocalLayer(path=broker_path))
    channel_layers.set(HERE, machine.here)
    channel_layers.set(THERE, machine.there)
    yield machine
    for alias in (HERE, THERE):
        channel_layers.set(alias, None)
    await machine.here.aclose()
    await machine.there.aclose()


@pytest.fixture
def signalled() -> Iterator[list[tuple[str, str]]]:
    signalled: list[tuple[str, str]] = []

    async def joined(sender: str, key: str, **kwargs: Any) -> None:
        signalled.append(("joined", key))

    async def left(sender: str, key: str, **kwargs: Any) -> None:
        signalled.append(("left", key))

    presence_joined.connect(joined)
    presence_left.connect(left)
    yield signalled
    presence_joined.disconnect(joined)
    presence_left.disconnect(left)


AT_SEA = [{"at": "sea"}]


@pytest.mark.parametrize("page_there", [PageThere, SyncPageThere])
async def test_who_comes_and_goes_in_another_process(
    host: BrokerHost, machine: Machine, signalled: list[Any], page_there: Any
) -> None:
    async with connect(Page, "/fry/") as fry:
        await fry.expect_json([{"/fry/": AT_SEA}, {}, {}])
        async with connect(page_there, "/leela/"), connect(page_there, "/leela/"):
            told = await fry.receive_json()
            assert list(told[0]) == ["/leela/"]
            while told[1] != {"/leela/": AT_SEA * 2} and told[0] != {"/leela/": AT_SEA * 2}:
                told = await fry.receive_json()
            assert await people[HERE].acount() == await people[THERE].acount() == 2
            everybody = {"/fry/": AT_SEA, "/leela/": AT_SEA * 2}
            assert await people[THERE].alist() == everybody
            assert await asyncio.to_thread(people[HERE].list) == everybody
            assert await asyncio.to_thread(people[THERE].count) == 2
        while told != [{}, {}, {"/leela/": AT_SEA}]:
            told = await fry.receive_json()
    await until(lambda: len(signalled) == 4)
    assert signalled == [("joined", "/fry/"), ("joined", "/leela/"), ("left", "/leela/"), ("left", "/fry/")]


async def test_one_person_in_two_processes_is_one(
    host: BrokerHost, machine: Machine, signalled: list[Any]
) -> None:
    async with connect(Page, "/fry/") as here, connect(PageThere, "/fry/") as there:
        await here.expect_json([{"/fry/": AT_SEA}, {}, {}])
        await here.expect_json([{}, {"/fry/": AT_SEA * 2}, {}])
        assert await people[HERE].acount() == 1
        await there.send_json("leave")
        await here.expect_json([{}, {"/fry/": AT_SEA}, {}])
        assert await people[THERE].alist() == {"/fry/": AT_SEA}
    await until(lambda: len(signalled) == 2)
    assert signalled == [("joined", "/fry/"), ("left", "/fry/")]


async def test_the_people_of_a_process_that_died_leave_and_another_signals(
    host: BrokerHost, machine: Machine, signalled: list[Any]
) -> None:
    async with connect(Page, "/fry/") as fry:
        await fry.expect_json([{"/fry/": AT_SEA}, {}, {}])
        async with connect(PageThere, "/leela/"):
            await fry.expect_json([{"/leela/": AT_SEA}, {}, {}])
            await machine.there.aclose()  # all its sockets, as the system does it for the dead
            async with asyncio.timeout(1.5):  # the grace is over in 0.2 s, and nobody else says anything
                await fry.expect_json([{}, {}, {"/leela/": AT_SEA}])
            assert await people[HERE].alist() == {"/fry/": AT_SEA}
    await until(lambda: len(signalled) == 4)
    assert ("left", "/leela/") in signalled


async def test_another_broker_is_told_who_is_there(
    host: BrokerHost, another: BrokerHost, machine: Machine, signalled: list[Any]
) -> None:
    async with connect(Page, "/fry/") as fry, connect(PageThere, "/leela/") as leela:
        await fry.expect_json([{"/fry/": AT_SEA}, {}, {}])
        await fry.expect_json([{"/leela/": AT_SEA}, {}, {}])
        await leela.receive()
        await asyncio.to_thread(host.stop)
        await asyncio.to_thread(another.start)
        everybody = {"/fry/": AT_SEA, "/leela/": AT_SEA}
        for one in (fry, leela):
            while (told := await one.receive_json()) != {"all": everybody}:
                assert isinstance(told, list)
                assert told[0] == told[2] == {}  # nobody has joined just now, nor left
        assert await people[HERE].alist() == everybody
        await until(lambda: len(signalled) == 2)
        assert signalled == [("joined", "/fry/"), ("joined", "/leela/")]
