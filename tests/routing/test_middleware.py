from __future__ import annotations

from typing import Any

import pytest

import tests.project  # noqa: F401  Django's settings
from raceway.consumers import AsyncWebsocketConsumer
from raceway.errors import DenyConnection
from raceway.routing import ConnectMiddleware
from tests.consumers.driver import Socket
from tests.routing.calls import call, note


class Adding(ConnectMiddleware):
    def __init__(self, inner: Any, word: str) -> None:
        super().__init__(inner)
        self.word = word

    async def prepare(self, scope: Any) -> None:
        scope["words"] = [*scope.get("words", []), self.word]


class Denying(ConnectMiddleware):
    async def prepare(self, scope: Any) -> None:
        raise DenyConnection


async def test_outer_middleware_comes_first_and_the_scope_is_a_copy() -> None:
    original = {"type": "websocket", "path": "/", "headers": []}
    scope, _ = await call(Adding(Adding(note("x"), "inner"), "outer"), **original)
    assert scope["words"] == ["outer", "inner"]
    assert "words" not in original


class Calling(Adding):
    """As one writes it for Channels."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__({**scope, "words": [*scope.get("words", []), "called"]}, receive, send)


async def test_a_call_of_its_own_is_called() -> None:
    for application in (
        Calling(note("x"), "inner"),
        Adding(Calling(note("x"), "inner"), "outer"),
        Adding(Calling(Adding(note("x"), "innermost"), "inner"), "outer"),
    ):
        scope, _ = await call(application)
        assert "called" in scope["words"]
        assert scope["words"].index("inner") == scope["words"].index("called") + 1


async def test_what_wraps_an_application_and_passes_on_its_attributes_is_called() -> None:
    class Wrapper:
        def __init__(self, wrapped: Any) -> None:
            self.wrapped = wrapped

        def __getattr__(self, name: str) -> Any:
            return getattr(self.wrapped, name)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.wrapped({**scope, "wrapped": True}, receive, send)

    scope, _ = await call(Adding(Wrapper(Adding(note("x"), "inner")), "outer"))
    assert scope["wrapped"]


async def test_it_can_deny() -> None:
    for inner in (note("x"), Adding(note("x"), "a")):
        assert await call(Denying(inner)) == (None, [{"type": "websocket.close"}])
    _, sent = await call(Denying(note("x")), extensions={"websocket.http.response": {}})
    assert sent[0]["status"] == 403


class Listing(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(" ".join(self.scope["words"]))


@pytest.mark.parametrize("lane", [True, False])
async def test_a_consumer_behind_it_gets_the_scope_and_keeps_its_lane(lane: bool) -> None:
    socket = Socket(Adding(Adding(Listing.as_asgi(), "inner"), "outer"), lane=lane)
    await socket.connect()
    assert await socket.text() == "outer inner"
    await socket.goodbye()


async def test_a_consumer_behind_a_denial_is_never_made() -> None:
    class Never(AsyncWebsocketConsumer):
        def __init__(self):
            raise AssertionError

    socket = Socket(Denying(Never.as_asgi()), lane=True)
    assert await socket.connect() == {"type": "websocket.close"}
    await socket.end()


async def test_what_prepare_raises_is_the_connections_failure() -> None:
    class Failing(ConnectMiddleware):
        async def prepare(self, scope: Any) -> None:
            raise ZeroDivisionError

    for inner in (note("x"), Listing.as_asgi()):
        socket = Socket(Failing(inner), lane=True).start()
        with pytest.raises(ZeroDivisionError):
            await socket.end()
