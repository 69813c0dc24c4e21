"""Who has the desk, and what becomes of presences when it goes: over a hub, each layer object a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from raceway import clock
from raceway.layers.distributed import attending
from raceway.layers.distributed.desk import LEASE_S
from raceway.layers.distributed.part import DistributedPart
from raceway.layers.roster import presence_group
from raceway.testing.conformance.front import Ears
from tests.conformance.hub import Hub, HubLayer

pytestmark = pytest.mark.shell


@pytest.fixture
async def layers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[HubLayer]]:
    monkeypatch.setattr(attending, "BEAT_S", 0.05)
    hub = Hub()
    layers = [HubLayer(hub=hub) for _ in range(3)]
    moved = clock._moved_s
    yield layers
    clock.move(moved - clock._moved_s)
    for layer in layers:
        await layer.aclose()


def part_of(layer: HubLayer) -> DistributedPart:
    return layer._distributed_part_here()


def has_desk(layer: HubLayer) -> bool:
    return part_of(layer).attending._desk is not None


class Watcher:
    """A member of a group that is told of gaps."""

    def __init__(self, layer: HubLayer) -> None:
        self.channel = layer.new_channel_name()
        self.gaps: list[str] = []
        layer.open(self.channel, lambda encoded: True, gap=self.gaps.append)


async def until(condition: Callable[[], Any], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def enter(layer: HubLayer, key: str, grace_s: float = 0) -> Ears:
    ears = Ears(layer, layer.new_channel_name())
    await layer.start_enter("room", key, ears.channel, {}, grace_s)
    return ears


def die(layer: HubLayer) -> None:
    """As a process that is killed: nothing is said, nothing is let go of."""
    part = part_of(layer)
    for task in list(part._tasks):
        task.cancel()
    part.carrier.forsake()
    layer._parts = {}


async def test_the_first_who_enters_has_the_desk(layers: list[HubLayer]) -> None:
    first, second, third = layers
    await enter(first, "fry")
    await enter(second, "leela")
    assert [has_desk(layer) for layer in (first, second)] == [True, False]
    assert await third.roll("room") == {"fry": [{}], "leela": [{}]}
    assert await asyncio.to_thread(third.roll_count_from_thread, "room") == 2


async def test_nothing_is_asked_of_the_desk_before_its_answer_is_heard(layers: list[HubLayer]) -> None:
    first, second, _ = layers
    await enter(first, "fry")
    part = part_of(second)
    slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    subscribe = part.carrier.subscribe

    async def subscribe_late(address: str) -> None:
        await slow
        subscribe(address)

    part.carrier.subscribe = lambda address: (  # type: ignore[method-assign]
        asyncio.ensure_future(subscribe_late(address)) if address == part.reply_to else subscribe(address)
    )
    entering = asyncio.ensure_future(enter(second, "leela"))
    await asyncio.sleep(0.05)
    assert list(await first.roll("room")) == ["fry"]
    slow.set_result(None)
    await asyncio.wait_for(entering, 2)
    assert sorted(await first.roll("room")) == ["fry", "leela"]


async def test_nobody_keeps_a_desk_where_nobody_is(layers: list[HubLayer]) -> None:
    first, *_ = layers
    ears = await enter(first, "fry")
    first.close(ears.channel)
    await until(lambda: not first.hub.roles)
    assert await first.roll("room") == {}


async def test_a_desk_that_dies_is_taken_over_and_its_members_are_told(layers: list[HubLayer]) -> None:
    first, second, third = layers
    await enter(first, "fry")
    await enter(second, "leela")
    watcher = Watcher(third)
    await third.group_add(presence_group("room"), watcher.channel)
    bystander = Watcher(third)
    await third.group_add("other", bystander.channel)
    changes: list[Any] = []
    second.presence_changed = lambda *change: changes.append(change)
    die(first)
    with pytest.raises(Exception, match="no other has taken over yet"):
        await third.roll("room")
    clock.move(LEASE_S + 1)
    await until(lambda: has_desk(second))
    assert await third.roll("room") == {"leela": [{}]}
    await until(lambda: watcher.gaps)
    assert (len(watcher.gaps), bystander.gaps, changes) == (1, [], [])


async def test_a_desk_that_ends_hands_over_who_may_come_back(layers: list[HubLayer]) -> None:
    first, second, third = layers
    await enter(first, "fry", grace_s=60)
    await enter(first, "bender")
    await enter(second, "leela")
    watcher = Watcher(third)
    await third.group_add(presence_group("room"), watcher.channel)
    await first.aclose()
    await until(lambda: has_desk(second))
    assert await third.roll("room") == {"leela": [{}], "fry": [{}]}
    clock.move(14)  # less than a lease, so that all others are still alive
    await asyncio.sleep(0.1)
    clock.move(14)
    await asyncio.sleep(0.1)
    assert await third.roll_count("room") == 2
    for _ in range(3):
        clock.move(14)
        await asyncio.sleep(0.1)
    assert await third.roll("room") == {"leela": [{}]}
    assert watcher.gaps == []


async def test_a_process_that_dies_leaves(layers: list[HubLayer]) -> None:
    first, second, _ = layers
    await enter(first, "fry")
    await enter(second, "leela")
    die(second)
    for _ in range(3):
        clock.move(LEASE_S / 3 + 1)
        await asyncio.sleep(0.1)
    assert await first.roll("room") == {"fry": [{}]}


async def test_what_the_desk_has_missed_is_said_again(layers: list[HubLayer]) -> None:
    first, second, _ = layers
    await enter(first, "fry")
    ears = await enter(second, "leela")
    hears = first.hub.heard["d"]
    first.hub.heard["d"] = []
    second.close(ears.channel)
    part_of(second).attending.enter("room", "amy", second.new_channel_name(), {}, 0)
    part_of(second).attending.enter("room", "zoidberg", second.new_channel_name(), {}, 0)
    first.hub.heard["d"] = hears
    await until(lambda: len(part_of(first).attending._desk.roll("room")) == 3)  # type: ignore[union-attr]
    assert await second.roll("room") == {"fry": [{}], "amy": [{}], "zoidberg": [{}]}


async def test_a_desk_that_was_cut_off_for_long_gives_it_up(layers: list[HubLayer]) -> None:
    first, second, _ = layers
    await enter(first, "fry")
    await enter(second, "leela")
    part_of(first).attending._beating.cancel()  # type: ignore[union-attr]
    clock.move(LEASE_S + 1)
    await until(lambda: has_desk(second))
    part_of(first).attending.heard(
        attending.Gone(part_of(second).reply_to)
    )  # it is not for it to say any more
    part_of(first).attending._start()
    await until(lambda: not has_desk(first))
    assert await first.roll("room") == {"fry": [{}], "leela": [{}]}


async def test_a_lost_connection_loses_nobody(layers: list[HubLayer]) -> None:
    first, second, _ = layers
    await enter(first, "fry")
    await enter(second, "leela")
    for layer in (first, second):
        part_of(layer).carrier.ears.lost("gone")  # type: ignore[attr-defined]
    clock.move(LEASE_S - 1)
    for layer in (first, second):
        part_of(layer).carrier.ears.missed("back")  # type: ignore[attr-defined]
    clock.move(2)
    await asyncio.sleep(0.2)
    assert await first.roll("room") == {"fry": [{}], "leela": [{}]}
