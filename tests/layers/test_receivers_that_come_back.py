"""A receiver of a named channel that has a message comes back for the next one: it need not subscribe again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from raceway.layers.distributed import receiving
from tests.conformance.hub import Hub, HubLayer

pytestmark = pytest.mark.shell
MESSAGE = {"type": "work"}


@pytest.fixture
async def layer() -> AsyncIterator[HubLayer]:
    layer = HubLayer(hub=Hub())
    yield layer
    await layer.aclose()


def subscribed(layer: HubLayer) -> int:
    """How often the layer hears of the channel."""
    return len(layer.hub.heard.get("c:work", ()))


async def test_whoever_takes_one_message_after_the_other_stays_subscribed(layer: HubLayer) -> None:
    for _ in range(3):
        await layer.send("work", MESSAGE)
        (await layer.take_work("work")).done()
        assert subscribed(layer) == 1
    later = asyncio.ensure_future(layer.receive("work"))
    await asyncio.sleep(0)
    await layer.send("work", MESSAGE)
    assert await later == MESSAGE
    assert subscribed(layer) == 1


async def test_who_gives_up_leaves_nothing_behind(layer: HubLayer) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive("work"), 0.001)
    assert subscribed(layer) == 0


async def test_nobody_came_back(layer: HubLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "LINGER_S", 0.001)
    await layer.send("work", MESSAGE)
    await layer.receive("work")
    assert subscribed(layer) == 1
    async with asyncio.timeout(5):
        while subscribed(layer):  # noqa: ASYNC110  nobody is told
            await asyncio.sleep(0.001)
    await layer.send("work", MESSAGE)
    assert await layer.receive("work") == MESSAGE


async def test_of_very_many_channels_nothing_is_kept(
    layer: HubLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "LINGERING_CHANNELS", 0)
    await layer.send("work", MESSAGE)
    await layer.receive("work")
    assert subscribed(layer) == 0
