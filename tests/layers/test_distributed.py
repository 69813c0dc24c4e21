"""What the conformance suite cannot see of layers between processes: over a hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from raceway.errors import LayerUnavailable
from raceway.layers.distributed.carrier import group_address
from tests.conformance.hub import Hub, HubLayer

pytestmark = pytest.mark.shell


@pytest.fixture
async def layer() -> AsyncIterator[HubLayer]:
    layer = HubLayer(hub=Hub())
    yield layer
    layer.hub.is_down = False
    await layer.aclose()


def opened(layer: HubLayer) -> str:
    channel = layer.new_channel_name()
    layer.open(channel, lambda encoded: True)
    return channel


async def test_a_thread_that_joins_waits_until_nothing_is_missed(layer: HubLayer) -> None:
    channel = opened(layer)
    part = layer._distributed_part_here()
    slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    subscribe = part.carrier.subscribe
    part.carrier.subscribe = lambda address: (  # type: ignore[method-assign]
        slow if address == group_address("g") else subscribe(address)
    )
    joining = asyncio.ensure_future(asyncio.to_thread(layer.join, "g", channel))
    while part.registry.count("g") == 0:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert not joining.done()
    slow.set_result(None)
    await asyncio.wait_for(joining, 5)


async def test_a_thread_hears_that_it_may_miss_something(layer: HubLayer) -> None:
    channel = opened(layer)
    layer.hub.is_down = True
    with pytest.raises(LayerUnavailable, match="down"):
        await asyncio.to_thread(layer.join, "g", channel)
