from __future__ import annotations

import asyncio
import inspect
import socket
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

import tests.project  # noqa: F401  Django's settings
from raceway.routing import ProtocolTypeRouter, URLRouter
from tests.routing.calls import call, note


async def test_the_type_chooses() -> None:
    router = ProtocolTypeRouter({"http": note("http"), "websocket": note("websocket")})
    for kind in ("http", "websocket"):
        scope, _ = await call(router, type=kind)
        assert scope["name"] == kind


async def test_an_unknown_type_is_named() -> None:
    with pytest.raises(ValueError, match="No application configured for scope type 'mail'; there is one for"):
        await call(ProtocolTypeRouter({"http": note("http")}), type="mail")


async def lifespan(router: ProtocolTypeRouter) -> list[Any]:
    sent: list[Any] = []
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(events)

    async def send(event: Any) -> None:
        sent.append(event)

    await router({"type": "lifespan"}, receive, send)
    return sent


async def test_lifespan_is_answered() -> None:
    assert await lifespan(ProtocolTypeRouter({})) == [
        {"type": "lifespan.startup.complete"},
        {"type": "lifespan.shutdown.complete"},
    ]


async def test_a_layer_that_cannot_be_made_stops_the_start() -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "nowhere.Layer"}}):
        sent = await lifespan(ProtocolTypeRouter({}))
    assert [event["type"] for event in sent] == ["lifespan.startup.failed"]
    assert "'nowhere.Layer' cannot be imported" in sent[0]["message"]


@pytest.mark.shell
async def test_a_local_layer_has_its_broker_as_long_as_the_server_runs(broker_path: Path) -> None:
    asked: asyncio.Queue[Any] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    config = {"BACKEND": "raceway.layers.local.LocalLayer", "CONFIG": {"path": str(broker_path)}}
    with override_settings(CHANNEL_LAYERS={"default": config}):
        running = asyncio.create_task(ProtocolTypeRouter({})({"type": "lifespan"}, asked.get, told.put))
        await asked.put({"type": "lifespan.startup"})
        assert await told.get() == {"type": "lifespan.startup.complete"}
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(broker_path))
        await asked.put({"type": "lifespan.shutdown"})
        assert await told.get() == {"type": "lifespan.shutdown.complete"}
        await running
        assert not broker_path.exists()  # noqa: ASYNC240


async def test_lifespan_can_be_routed() -> None:
    scope, _ = await call(ProtocolTypeRouter({"lifespan": note("mine")}), type="lifespan")
    assert scope["name"] == "mine"


def test_servers_recognise_them_as_asgi_3() -> None:
    for application in (ProtocolTypeRouter({}), URLRouter([])):
        assert inspect.iscoroutinefunction(application.__call__)
