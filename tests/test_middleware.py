from __future__ import annotations

from typing import Any

from django.urls import path

from raceway.middleware import BaseMiddleware
from raceway.routing import ConnectMiddleware, URLRouter
from tests.routing.calls import call, note


class Shout(BaseMiddleware):
    """As people write it: the scope changed, ``send`` wrapped."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def shout(event: Any) -> None:
            await send({**event, "shouted": True})

        await super().__call__({**scope, "mood": "loud"}, receive, shout)


class Calm(ConnectMiddleware):
    async def prepare(self, scope: Any) -> None:
        scope["outer"] = "calm"


async def test_it_sees_each_message_and_hands_on_a_copy_of_the_scope() -> None:
    given = {"type": "http", "path": "/"}
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["mine"] = True
        await send({"type": "noted", "scope": scope})

    async def send(event: Any) -> None:
        sent.append(event)

    await BaseMiddleware(application)(given, None, send)
    assert given == {"type": "http", "path": "/"}
    await Calm(Shout(application))(given, None, send)
    assert [event.get("shouted") for event in sent] == [None, True]
    assert sent[1]["scope"] == {**given, "outer": "calm", "mood": "loud", "mine": True}


async def test_a_route_to_it_is_a_prefix_if_a_router_is_inside() -> None:
    router = URLRouter([path("a/", BaseMiddleware(URLRouter([path("b/", note("b"))])))])
    scope, _ = await call(router, path="/a/b/", type="http")
    assert scope["name"] == "b"
