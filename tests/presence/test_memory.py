"""The memory layer's part: threads, timers and what it costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raceway.layers.memory import MemoryLayer
from raceway.layers.presences import Presences
from raceway.layers.roster import Change, Diff, Effect, presence_group
from raceway.layers.spec import decode_event
from tests.layers.work import steps


class Ears:
    """A channel that is open."""

    def __init__(self, layer: MemoryLayer) -> None:
        self.layer = layer
        self.heard: list[Any] = []
        self.channel = layer.new_channel_name()
        layer.open(self.channel, self.deliver)

    def deliver(self, encoded: bytes) -> bool:
        self.heard.append(decode_event(encoded))
        return True

    def enter(self, key: str, grace_s: float = 0, **meta: Any) -> None:
        self.layer.start_enter("documents", key, self.channel, meta, grace_s)


async def test_joining_costs_the_same_as_the_tenth_and_as_the_ten_thousandth() -> None:
    def cost(members: int) -> int:
        layer = MemoryLayer(clock=lambda: 1000.0)
        for number in range(members):
            Ears(layer).enter(str(number))
        one = Ears(layer)
        return steps(lambda: one.enter("one"))

    assert cost(10_000) <= cost(10) * 1.1


async def test_every_member_has_a_diff_of_its_own() -> None:
    layer = MemoryLayer()
    ears = [Ears(layer) for _ in range(2)]
    for one in ears:
        layer.join(presence_group("documents"), one.channel)
    ears[0].enter("fry", at=[1])
    event = ears[0].heard[0]
    assert event == {
        "type": "presence.diff",
        "presence": "documents",
        "joined": {"fry": [{"at": [1]}]},
        "changed": {},
        "left": {},
    }
    event["joined"]["fry"][0]["at"].append(2)
    assert ears[1].heard[0]["joined"] == (await layer.roll("documents")) == {"fry": [{"at": [1]}]}


@pytest.mark.parametrize("end", ["close", "leave_all"])
async def test_the_end_of_a_channel_is_the_end_of_all_its_presences(end: str) -> None:
    layer = MemoryLayer()
    ears = Ears(layer)
    layer.start_enter("documents", "fry", ears.channel, {}, 0)
    layer.start_enter("kitchen", "fry", ears.channel, {}, 0)
    layer.start_exit("kitchen", ears.channel)
    assert [await layer.roll_count(name) for name in ("documents", "kitchen")] == [1, 0]
    getattr(layer, end)(ears.channel)
    assert await layer.roll("documents") == {}


async def test_a_channel_that_is_not_open_enters_nothing() -> None:
    layer = MemoryLayer()
    await layer.start_enter("documents", "fry", "work", {}, 0)
    await layer.start_exit("documents", "work")
    assert layer.roll_count_from_thread("documents") == 0


async def test_changes_of_a_loop_that_has_gone_are_told_by_another() -> None:
    layer = MemoryLayer()
    told: list[Any] = []
    layer.presence_changed = lambda *change: told.append((*change, asyncio.get_running_loop()))
    here = Ears(layer)

    async def visit() -> None:
        Ears(layer).enter("fry", at=1)

    loop = asyncio.new_event_loop()
    await asyncio.to_thread(loop.run_until_complete, visit())
    loop.close()
    assert told == [("documents", "joined", "fry", [{"at": 1}], loop)]
    assert layer.roll_count_from_thread("documents") == 0
    here.enter("leela")
    running = asyncio.get_running_loop()
    assert ("documents", "left", "fry", [{"at": 1}], running) in told
    assert layer.roll_count_from_thread("documents") == 1


async def test_effects_come_in_order_and_one_at_a_time_also_if_acting_has_effects() -> None:
    acted: list[str] = []

    def act(effect: Effect) -> None:
        acted.append(f"{effect.kind} {effect.key}" if isinstance(effect, Change) else "diff")
        if isinstance(effect, Change) and effect.key == "fry":
            presences.enter("documents", "leela", "b", {}, 0, None)
            assert acted == ["joined fry"]

    presences = Presences(act, lambda: 0.0)
    presences.enter("documents", "fry", "a", {}, 0, None)
    assert acted == ["joined fry", "diff", "joined leela"]


async def test_an_effect_that_fails_stops_no_other() -> None:
    acted: list[Effect] = []

    def act(effect: Effect) -> None:
        acted.append(effect)
        if isinstance(effect, Change):
            raise ZeroDivisionError

    presences = Presences(act, lambda: 0.0)
    with pytest.raises(ZeroDivisionError):
        presences.enter("documents", "fry", "a", {}, 0, None)
    assert presences.count("documents") == 1
    assert [type(effect) for effect in acted] == [Change, Diff]
