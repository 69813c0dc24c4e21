"""A worker in the process of a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway import Channel
from raceway.errors import ConfigurationError
from raceway.layers.configured import channel_layers
from raceway.routing import ChannelNameRouter, ProtocolTypeRouter
from raceway.server.lifespan import Lifespan
from raceway.testing import fresh_channel_layers
from raceway.threads import in_test
from raceway.workers import WithWorker
from tests.routing.calls import call, note


@pytest.fixture(autouse=True)
def layers() -> Iterator[None]:
    token = in_test.set(True)  # the lifespan opens and closes no layers of the settings
    with fresh_channel_layers():
        yield
    in_test.reset(token)


def application(handle: Any) -> ProtocolTypeRouter:
    return ProtocolTypeRouter({"channel": ChannelNameRouter({"work": handle}), "websocket": note("socket")})


async def test_it_works_as_long_as_the_application_lives() -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def work(message: dict[str, Any]) -> None:
        await heard.put(message)

    lifespan = Lifespan(WithWorker(application(work)))
    await Channel("work").asend({"n": 1})
    assert heard.empty()
    await lifespan.start()
    assert await asyncio.wait_for(heard.get(), 5) == {"n": 1}
    await lifespan.stop(5)
    await Channel("work").asend({"n": 2})
    assert await channel_layers["default"].receive("work") == {"n": 2}


async def test_it_stops_before_the_application_does() -> None:
    order: list[str] = []
    began, went_on = asyncio.Event(), asyncio.Event()

    async def work(message: dict[str, Any]) -> None:
        began.set()
        await went_on.wait()
        order.append("handled")

    async def lifespan_of_the_project(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        order.append("shut down")
        await send({"type": "lifespan.shutdown.complete"})

    router = ProtocolTypeRouter(
        {"lifespan": lifespan_of_the_project, "channel": ChannelNameRouter({"work": work})}
    )
    lifespan = Lifespan(WithWorker(router))
    await lifespan.start()
    await Channel("work").asend({})
    await asyncio.wait_for(began.wait(), 5)
    stopping = asyncio.ensure_future(lifespan.stop(5))
    await asyncio.sleep(0)
    went_on.set()
    await stopping
    assert order == ["handled", "shut down"]


async def test_other_connections_are_handed_on() -> None:
    scope, _ = await call(WithWorker(application(print)), type="websocket")
    assert scope["name"] == "socket"


async def test_without_named_channels_there_is_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "raceway.workers"):
        lifespan = Lifespan(WithWorker(ProtocolTypeRouter({})))
        await lifespan.start()
        await lifespan.stop(5)
    assert caplog.records == []


async def test_a_layer_that_cannot_be_made_stops_the_start() -> None:
    lifespan = Lifespan(WithWorker(application(print), alias="other"))
    with pytest.raises(ConfigurationError, match="CHANNEL_LAYERS has no alias 'other'"):
        await lifespan.start()
    lifespan.abandon()
