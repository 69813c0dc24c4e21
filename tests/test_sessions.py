from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections
from django.test import override_settings

from raceway.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from raceway.sessions import CookieMiddleware, SessionMiddleware, SessionMiddlewareStack
from tests.consumers.driver import Socket
from tests.project.database import migrate
from tests.routing.calls import call, note


def cookie(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", text.encode())]


@pytest.mark.parametrize(
    ("headers", "cookies"),
    [
        ([], {}),
        (cookie("a=1; b=two"), {"a": "1", "b": "two"}),
        ([*cookie("a=1"), (b"x", b"y"), *cookie("b=2")], {"a": "1", "b": "2"}),
        (cookie('a="quo\\"ted"; novalue'), {"a": 'quo"ted', "": "novalue"}),
        ([(b"cookie", b"a=\xff")], {"a": "ÿ"}),
    ],
)
async def test_cookies_of_all_headers(headers: Any, cookies: dict[str, str]) -> None:
    scope, _ = await call(CookieMiddleware(note("x")), headers=headers)
    assert scope["cookies"] == cookies


async def test_a_session_needs_cookies() -> None:
    with pytest.raises(ValueError, match="SessionMiddleware goes inside CookieMiddleware"):
        await call(SessionMiddleware(note("x")))


async def test_without_a_cookie_the_session_is_empty_and_no_database_is_asked() -> None:
    scope, _ = await call(SessionMiddlewareStack(note("x")))
    assert scope["session"].session_key is None
    assert scope["session"].is_empty()


async def test_an_outer_session_stays() -> None:
    scope, _ = await call(SessionMiddlewareStack(note("x")), session="mine")
    assert scope["session"] == "mine"


@override_settings(
    SESSION_COOKIE_NAME="sid", SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"
)
async def test_the_settings_count() -> None:
    scope, _ = await call(SessionMiddlewareStack(note("x")), headers=cookie("sid=abcdefghij"))
    assert type(scope["session"]).__module__.endswith("signed_cookies")
    assert scope["session"].session_key == "abcdefghij"


def saved_session(**data: Any) -> str:
    migrate()
    session = SessionStore()
    session.update(data)
    session.save()
    connections.close_all()
    assert session.session_key is not None
    return session.session_key


class AsyncReader(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(await self.scope["session"].aget("fruit"))


class SyncReader(WebsocketConsumer):
    def connect(self):
        self.accept()
        self.send(self.scope["session"]["fruit"])


@pytest.fixture
def session_key() -> str:
    return saved_session(fruit="apple")


@pytest.mark.parametrize("consumer", [AsyncReader, SyncReader])
async def test_consumers_read_it_in_their_own_way(consumer: Any, session_key: str) -> None:
    socket = Socket(
        SessionMiddlewareStack(consumer.as_asgi()), lane=True, headers=cookie(f"sessionid={session_key}")
    )
    await socket.connect()
    assert await socket.text() == "apple"
    await socket.goodbye()
