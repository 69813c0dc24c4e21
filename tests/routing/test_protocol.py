from __future__ import annotations

import inspect
from typing import Any

import pytest

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


async def test_lifespan_can_be_routed() -> None:
    scope, _ = await call(ProtocolTypeRouter({"lifespan": note("mine")}), type="lifespan")
    assert scope["name"] == "mine"


def test_servers_recognise_them_as_asgi_3() -> None:
    for application in (ProtocolTypeRouter({}), URLRouter([])):
        assert inspect.iscoroutinefunction(application.__call__)
