"""What the conformance suite cannot see of layers between processes: over a hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from raceway.consumers import WebsocketConsumer
from raceway.errors import LayerUnavailable
from raceway.layers.configured import channel_layers
from raceway.layers.distributed.carrier import group_address, process_address
from raceway.testing import WebsocketCommunicator
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


def slow_to_hear(layer: HubLayer, address: str) -> asyncio.Future[None]:
    """A subscription of this loop that comes into force when the future ends."""
    slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    carrier = layer._distributed_part_here().carrier
    subscribe = carrier.subscribe
    carrier.subscribe = lambda one: slow if one == address else subscribe(one)  # type: ignore[method-assign]
    return slow


async def test_a_thread_that_joins_waits_until_nothing_is_missed(layer: HubLayer) -> None:
    channel = opened(layer)
    slow = slow_to_hear(layer, group_address("g"))
    part = layer._distributed_part_here()
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


async def test_a_new_channel_can_be_reached(layer: HubLayer) -> None:
    slow = slow_to_hear(layer, process_address(layer._process))
    making = [asyncio.ensure_future(layer.new_channel()) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in making)
    slow.set_result(None)
    await asyncio.wait_for(asyncio.gather(*making), 5)


@contextmanager
def as_default(layer: HubLayer) -> Iterator[None]:
    old = channel_layers.set("default", layer)
    try:
        yield
    finally:
        channel_layers.set("default", old)


async def test_a_consumer_begins_when_its_channel_can_be_reached(layer: HubLayer) -> None:
    """Whoever it tells its name, in a message or a database, from a loop or a thread, can answer."""
    began: list[str] = []

    class Consumer(WebsocketConsumer):
        def connect(self) -> None:
            began.append(self.channel_name)
            self.accept()

    slow = slow_to_hear(layer, process_address(layer._process))
    with as_default(layer):
        client = WebsocketCommunicator(Consumer.as_asgi(), "/")
        connecting = asyncio.ensure_future(client.connect())
        await asyncio.sleep(0.05)
        assert began == []
        slow.set_result(None)
        assert await asyncio.wait_for(connecting, 5) == (True, None)
        assert len(began) == 1
        await client.disconnect()


async def test_a_consumer_serves_its_client_without_the_layer(
    layer: HubLayer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.hub.is_down = True
    with as_default(layer):
        client = WebsocketCommunicator(WebsocketConsumer.as_asgi(), "/")
        assert await asyncio.wait_for(client.connect(), 5) == (True, None)
        await client.disconnect()
    assert "The channel layer is not there yet: The hub is down." in caplog.text
