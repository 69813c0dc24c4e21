"""Rates, and what the memory layer counts."""

from __future__ import annotations

import asyncio

import pytest

from raceway import Group
from raceway.errors import ChannelFull
from raceway.layers.memory import MemoryLayer
from raceway.layers.statistics import Rate
from tests.layers.test_memory import Clock


def test_a_rate_is_the_mean_since_the_beginning_at_first() -> None:
    rate = Rate(100.0)
    assert rate.per_second(100.0, 0) == 0
    assert rate.per_second(110.0, 50) == 5
    assert rate.per_second(120.0, 50) == 2.5


def test_a_rate_forgets_what_is_older_than_a_minute() -> None:
    rate = Rate(0.0)
    for second in range(1, 61):
        rate.per_second(float(second), 1000)
    assert rate.per_second(61.0, 1000) == 0
    assert rate.per_second(62.0, 1120) == 2


def test_asking_often_keeps_few_samples() -> None:
    rate = Rate(0.0)
    for asked in range(100_000):
        rate.per_second(asked / 100, asked)
    assert len(rate._samples) <= 62


def test_a_rate_that_nobody_asked_for_long_is_the_mean_of_that_time() -> None:
    rate = Rate(0.0)
    rate.per_second(1.0, 10)
    assert rate.per_second(101.0, 210) == 2


async def test_a_channel_counts_while_it_is_used() -> None:
    clock = Clock()
    layer = MemoryLayer(clock=clock, expiry=10, capacity=2)
    for _ in range(2):
        await layer.send("work", {"type": "n"})
    with pytest.raises(ChannelFull):
        await layer.send("work", {"type": "n"})
    clock.now = 4
    assert await layer.channel_statistics("work") == {
        "messages_count": 2,
        "messages_count_per_second": 0.5,
        "messages_pending": 2,
        "messages_max_age": 4,
        "channel_full_count": 1,
        "channel_full_count_per_second": 0.25,
        "messages_lost_count": 0,
    }
    await layer.receive("work")
    await layer.receive("work")
    clock.now = 13.9
    empty = await layer.channel_statistics("work")
    assert (empty["messages_count"], empty["messages_pending"], empty["messages_max_age"]) == (2, 0, 0)
    clock.now = 14
    assert (await layer.channel_statistics("work"))["messages_count"] == 0


async def test_what_has_expired_waits_no_longer() -> None:
    clock = Clock()
    layer = MemoryLayer(clock=clock, expiry=10)
    await layer.send("work", {"type": "n"})
    clock.now = 5
    await layer.send("p!work", {"type": "n"})
    assert (await layer.global_statistics())["messages_max_age"] == 5
    clock.now = 10
    figures = await layer.global_statistics()
    assert (figures["messages_pending"], figures["messages_max_age"], figures["messages_count"]) == (1, 5, 2)


def test_full_mailboxes_are_counted_also_those_of_loops_that_have_ended(layer: MemoryLayer) -> None:
    async def use() -> int:
        for number in range(3):
            layer.open(f"p!{number}", lambda encoded: False)
            layer.join("g", f"p!{number}")
        await Group("g").asend({"type": "n"})
        with pytest.raises(ChannelFull):
            await layer.send("p!1", {"type": "n"})
        return layer.full_count

    assert asyncio.run(use()) == 4
    assert asyncio.run(use()) == 8
    assert layer.full_count == 8
