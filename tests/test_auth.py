from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, user_logged_in, user_logged_out
from django.contrib.auth import login as django_login
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections
from django.http import HttpRequest
from django.test import override_settings

from raceway.auth import AuthMiddlewareStack, get_user, login, logout
from raceway.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from tests.consumers.driver import Socket
from tests.project.database import User, make_user
from tests.routing.calls import call, note


@pytest.fixture
def leela() -> User:
    return make_user("leela")


def session_of(user: User) -> str:
    """Log ``user`` in as a browser does; return the key of the session."""
    request = HttpRequest()
    request.session = SessionStore()
    django_login(request, user, "django.contrib.auth.backends.ModelBackend")
    request.session.save()
    connections.close_all()
    assert request.session.session_key is not None
    return request.session.session_key


def stored(key: str) -> dict[str, Any]:
    data = SessionStore(key).load()
    connections.close_all()
    return data


@pytest.fixture
def leelas_session(leela: User) -> str:
    return session_of(leela)


def headers(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", b"theme=dark"), (b"cookie", f"sessionid={key}".encode())]


async def user_at_handshake(key: str | None) -> Any:
    """The user that a connection with this session gets, as its text."""

    class Whoami(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await self.send(self.scope["user"].get_username() or "nobody")

    given = headers(key) if key is not None else []
    socket = Socket(AuthMiddlewareStack(Whoami.as_asgi()), lane=True, headers=given)
    await socket.connect()
    text = await socket.text()
    await socket.goodbye()
    return text


async def test_the_user_of_the_session(leelas_session: str) -> None:
    assert await user_at_handshake(leelas_session) == "leela"


async def test_nobody_without_a_session(leela: User) -> None:
    assert await user_at_handshake(None) == "nobody"
    assert await user_at_handshake("no such session") == "nobody"


async def test_the_middleware_does_not_stand_between() -> None:
    scope, _ = await call(AuthMiddlewareStack(note("x")))  # `call` checks that send and receive are its own
    assert scope["user"].is_anonymous
    assert scope["session"].is_empty()


async def test_an_outer_user_stays() -> None:
    scope, _ = await call(AuthMiddlewareStack(note("x")), user="mine")
    assert scope["user"] == "mine"


async def test_a_changed_password_ends_the_session(leela: User, leelas_session: str) -> None:
    leela.set_password("another")
    await leela.asave()
    assert await user_at_handshake(leelas_session) == "nobody"


async def test_a_key_among_the_fallbacks_counts_and_keeps_the_browsers_session(leelas_session: str) -> None:
    with override_settings(SECRET_KEY="a new key", SECRET_KEY_FALLBACKS=["a key for tests"]):
        assert await user_at_handshake(leelas_session) == "leela"
        assert await user_at_handshake(leelas_session) == "leela"  # the cookie is still good
    with override_settings(SECRET_KEY="a new key"):
        assert await user_at_handshake(leelas_session) == "nobody"


async def test_the_backend_must_be_configured(leelas_session: str) -> None:
    with override_settings(AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"]):
        assert await user_at_handshake(leelas_session) == "nobody"


@pytest.mark.parametrize("function", [get_user, logout, login])
async def test_they_need_a_session(function: Any) -> None:
    with pytest.raises(ValueError, match="Cannot find session in scope"):
        await function({"type": "websocket"})


@pytest.fixture
def signals() -> Iterator[list[Any]]:
    seen: list[Any] = []

    def logged_in(user: Any, **kwargs: Any) -> None:
        seen.append(("in", user.get_username()))

    def logged_out(user: Any, **kwargs: Any) -> None:
        seen.append(("out", user and user.get_username()))

    user_logged_in.connect(logged_in)
    user_logged_out.connect(logged_out)
    yield seen
    user_logged_in.disconnect(logged_in)
    user_logged_out.disconnect(logged_out)


async def test_login_and_logout(leela: User, signals: list[Any]) -> None:
    done: list[Any] = []

    class Door(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            if text_data == "in":
                await login(self.scope, leela)
            else:
                await logout(self.scope)
            done.append((self.scope["user"], self.scope["session"].session_key))
            await self.send("done")

    socket = Socket(AuthMiddlewareStack(Door.as_asgi()), lane=True)
    await socket.connect()
    socket.say("in")
    await socket.text()
    user, key = done[0]
    assert user == leela
    assert await user_at_handshake(key) == "leela"  # it was saved
    socket.say("out")
    await socket.text()
    assert done[1][0].is_anonymous
    assert await user_at_handshake(key) == "nobody"
    await socket.goodbye()
    assert signals == [("in", "leela"), ("out", "leela")]


async def test_login_takes_the_user_of_the_scope_or_says_that_there_is_none() -> None:
    scope, _ = await call(AuthMiddlewareStack(note("x")))
    scope["user"] = None
    with pytest.raises(
        ValueError, match="User must be passed as an argument or must be present in the scope"
    ):
        await login(scope)


async def test_the_session_of_another_user_is_not_kept(leela: User, leelas_session: str) -> None:
    fry = await User.objects.filter(username="fry").afirst() or await User.objects.acreate_user("fry")
    scope, _ = await call(AuthMiddlewareStack(note("x")), headers=headers(leelas_session))
    await login(scope, fry, "django.contrib.auth.backends.ModelBackend")
    assert scope["session"].session_key != leelas_session
    assert await scope["session"].aget(SESSION_KEY) == str(fry.pk)
    assert await scope["session"].aget(HASH_SESSION_KEY) == fry.get_session_auth_hash()


async def test_users_in_def_handlers(leelas_session: str) -> None:
    class Sync(WebsocketConsumer):
        def connect(self):
            self.accept()
            self.scope["user"].refresh_from_db()
            self.send(self.scope["user"].username)

    socket = Socket(AuthMiddlewareStack(Sync.as_asgi()), lane=True, headers=headers(leelas_session))
    await socket.connect()
    assert await socket.text() == "leela"
    await socket.goodbye()
