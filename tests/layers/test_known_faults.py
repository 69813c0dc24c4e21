"""Faults that were verified in the layers before ours; the letters are those of the list they stand in."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway import clock
from raceway.layers import channel_layers, get_channel_layer
from raceway.layers.memory import MemoryLayer
from tests.layers.test_configured import layers
from tests.layers.work import steps


async def test_v26_capacity_by_pattern_is_taken_from_the_setting() -> None:
    patterns = {"small.*": 1, re.compile(r"large\."): 3, "http.response!*": 2}
    with layers(CONFIG={"capacity": 5, "channel_capacity": patterns}):
        layer = get_channel_layer()
        assert layer is not None
        names = ("small.x", "large.x", "http.response!a", "other")
        assert [layer.get_capacity(name) for name in names] == [1, 3, 2, 5]
        await layer.send("small.x", {"type": "n"})
        with pytest.raises(layer.ChannelFull):
            await layer.send("small.x", {"type": "n"})


async def test_v27_groups_cost_what_their_members_cost() -> None:
    def publish(size: int) -> int:
        layer = MemoryLayer(capacity=10_000)
        for number in range(size):
            layer.join("g", f"m{number}")
        message = layer.prepare({"type": "n"})
        for _ in range(3):  # messages that wait must not be looked at again and again
            layer.publish_from_thread("g", message)
        return steps(lambda: layer.publish_from_thread("g", message))

    assert publish(1000) < 11 * publish(100)


async def test_v28_a_bare_prefix_receives_for_its_process(layer: MemoryLayer) -> None:
    await layer.send("process!a", {"type": "n"})
    await layer.send("process!b", {"type": "m"})
    assert await layer.receive("process!") == {"type": "n", "__asgi_channel__": "process!a"}
    assert await layer.receive("process!") == {"type": "m", "__asgi_channel__": "process!b"}


async def test_v28_a_new_name_has_one_dot_and_the_prefix_of_its_process(layer: MemoryLayer) -> None:
    first, second = await layer.new_channel(), await layer.new_channel()
    assert re.fullmatch(r"specific\.\w+!\w+", first)
    assert layer.non_local_name(first) == layer.non_local_name(second) == first.partition("!")[0] + "!"


async def test_v28_an_expired_message_ends_no_membership(layer: MemoryLayer, move: Any) -> None:
    await layer.group_add("g", "work")
    await layer.group_send("g", {"type": "expires"})
    move(layer.expiry + 1)
    await layer.group_send("g", {"type": "n"})
    assert await layer.receive("work") == {"type": "n"}


async def test_v29c_the_exceptions_are_there_and_raised(layer: MemoryLayer) -> None:
    large = {"type": "n", "data": b"x" * 5_000_000}
    with pytest.raises(layer.MessageTooLarge, match="max_message_bytes=2097152"):
        await layer.send("work", large)
    with pytest.raises(layer.MessageTooLarge):
        await layer.group_send("g", large)
    for _ in range(layer.capacity):
        await layer.send("work", {"type": "n"})
    with pytest.raises(layer.ChannelFull):
        await layer.send("work", {"type": "n"})


async def test_v33_one_connection_cannot_use_up_the_capacity_of_others() -> None:
    layer = MemoryLayer(capacity=10)
    names = [await layer.new_channel() for _ in range(20)]
    for name in names:
        await layer.send(name, {"type": "n"})
    for _ in range(9):
        await layer.send(names[0], {"type": "n"})
    with pytest.raises(layer.ChannelFull):
        await layer.send(names[0], {"type": "n"})
    await layer.send(names[1], {"type": "n"})


async def test_v35_keys_may_be_ints(layer: MemoryLayer) -> None:
    message = {"type": "users", "users": {1: {"name": "leela"}, -5: None}}
    await layer.group_add("g", "work")
    await layer.group_send("g", message)
    assert await layer.receive("work") == message


async def test_v36_options_are_not_swallowed() -> None:
    layer = MemoryLayer(capacity=1, expiry=5)
    await layer.send("work", {"type": "n"})
    with pytest.raises(layer.ChannelFull):
        await layer.send("work", {"type": "n"})
    with pytest.raises(TypeError, match="capasity"):
        MemoryLayer(capasity=1)


async def test_v37_a_cancelled_receiver_leaves_nothing_behind(layer: MemoryLayer) -> None:
    for number in range(50):
        waiting = asyncio.ensure_future(layer.receive(f"p!{number}"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert not any(part.receivers for part in layer._live_parts())
    assert not layer._queues


def test_v39_one_layer_serves_several_loops() -> None:
    layer = channel_layers["default"]

    async def use() -> None:
        waiting = asyncio.ensure_future(layer.receive("work"))
        await asyncio.sleep(0)
        await layer.send("work", {"type": "n"})
        assert await waiting == {"type": "n"}

    asyncio.run(use())
    asyncio.run(use())


@pytest.fixture
def move() -> Any:
    """Move the clock, until the test has ended."""
    moved: list[float] = []

    def move(seconds: float) -> None:
        clock.move(seconds)
        moved.append(seconds)

    yield move
    clock.move(-sum(moved))
