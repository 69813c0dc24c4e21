from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.layers import channel_layers
from raceway.layers.memory import MemoryLayer
from tests.consumers.driver import Socket

Open = Callable[..., Socket]


@pytest.fixture(autouse=True)
def layer() -> Iterator[MemoryLayer]:
    layer = MemoryLayer()
    channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", None)


@pytest.fixture(params=["plain", "lane"])
async def open_socket(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Open connections to a consumer class, once per kind of server; all are ended with the test."""
    sockets: list[Socket] = []

    def open_socket(consumer: Any, **scope: Any) -> Socket:
        application = consumer.as_asgi() if isinstance(consumer, type) else consumer
        sockets.append(Socket(application, lane=request.param == "lane", **scope))
        return sockets[-1]

    yield open_socket
    running = [socket.task for socket in sockets if hasattr(socket, "task") and not socket.task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
