from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, alogout, user_logged_in, user_logged_out
from django.contrib.auth import login as django_login
from django.contrib.auth import logout as django_logout
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections, transaction
from django.http import HttpRequest
from django.test import override_settings

from raceway import User as SocketsOf
from raceway.auth import (
    AuthMiddlewareStack,
    TokenAuthMiddleware,
    close_sockets_of_session,
    get_user,
    login,
    logout,
    make_token,
)
from raceway.consumers import AsyncHttpConsumer, AsyncWebsocketConsumer, SseConsumer, WebsocketConsumer
from raceway.errors import LayerUnavailable
from raceway.layers.memory import MemoryLayer
from raceway.testing import HttpCommunicator
from raceway.threads import LentThread
from tests.consumers.driver import Socket
from tests.project.consumers import Quiet
from tests.project.database import AnonymousUser, User, in_thread, make_user
from tests.routing.calls import call, note
from tests.waiting import until

LOGGED_OUT = {"type": "websocket.close", "code": 4401, "reason": "logged out"}


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
    assert await socket.next() == LOGGED_OUT
    await socket.end()
    assert done[1][0].is_anonymous
    assert await user_at_handshake(key) == "nobody"
    assert signals == [("in", "leela"), ("out", "leela")]


@pytest.mark.parametrize("user", [None, AnonymousUser()])
async def test_login_takes_the_user_of_the_scope_or_says_that_there_is_none(user: Any) -> None:
    scope, _ = await call(AuthMiddlewareStack(note("x")))
    scope["user"] = user
    with pytest.raises(
        ValueError, match="User must be passed as an argument or must be present in the scope"
    ):
        await login(scope)


async def test_the_session_of_another_user_is_not_kept(leela: User, leelas_session: str) -> None:
    fry = await in_thread(make_user, "fry")
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


async def signed_in(key: str, consumer: Any = Quiet) -> Socket:
    socket = Socket(AuthMiddlewareStack(consumer.as_asgi()), lane=True, headers=headers(key))
    assert await socket.connect() == {"type": "websocket.accept"}
    return socket


async def test_a_users_sockets_are_reached_from_anywhere(leela: User, leelas_session: str) -> None:
    """``User(leela).broadcast`` reaches each of her sessions' sockets, and nobody else's."""
    hers = [await signed_in(leelas_session), await signed_in(await in_thread(session_of, leela))]
    fry = await in_thread(make_user, "fry")
    his = await signed_in(await in_thread(session_of, fry))
    await in_thread(SocketsOf(leela).broadcast, "hello leela")
    await SocketsOf(fry.pk).abroadcast("hello fry")
    assert [await socket.text() for socket in (*hers, his)] == ["hello leela", "hello leela", "hello fry"]
    for socket in (*hers, his):
        await socket.goodbye()
    assert not any(socket.sent for socket in (*hers, his))


def request_of(key: str, user: Any = None) -> HttpRequest:
    request = HttpRequest()
    request.session = SessionStore(key)
    request.user = user
    return request


async def test_logging_out_anywhere_closes_the_sockets_of_that_session_only(
    leela: User, leelas_session: str
) -> None:
    sockets = [await signed_in(leelas_session), await signed_in(leelas_session)]
    other = await signed_in(await in_thread(session_of, leela))
    await in_thread(django_logout, request_of(leelas_session, leela))
    for socket in sockets:
        assert await socket.next() == LOGGED_OUT
        await socket.end()
    await SocketsOf(leela).abroadcast("still here")
    assert await other.text() == "still here"
    await other.goodbye()


async def test_who_logs_in_as_another_user_closes_the_sockets_of_the_one_before(
    leela: User, leelas_session: str
) -> None:
    """Django ends that session, and says nothing of it."""
    socket, fry = await signed_in(leelas_session), await in_thread(make_user, "fry")

    def log_in(user: User) -> None:
        request = request_of(leelas_session)
        request.COOKIES["sessionid"] = leelas_session
        django_login(request, user, "django.contrib.auth.backends.ModelBackend")

    await in_thread(log_in, leela)
    await SocketsOf(leela).abroadcast("again")
    assert await socket.text() == "again"
    await in_thread(log_in, fry)
    assert await socket.next() == LOGGED_OUT
    await socket.end()


async def test_a_socket_that_logs_in_as_another_user_goes_on(leela: User, leelas_session: str) -> None:
    fry = await in_thread(make_user, "fry")

    class Door(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await login(self.scope, fry, "django.contrib.auth.backends.ModelBackend")
            await self.send("in")

    door, other = await signed_in(leelas_session, Door), await signed_in(leelas_session)
    door.say("fry")
    assert await other.next() == LOGGED_OUT
    assert await door.text() == "in"
    await SocketsOf(leela).abroadcast("for leela")
    await SocketsOf(fry).abroadcast("for fry")
    assert await door.text() == "for fry"
    await other.end()
    await door.goodbye()


async def test_an_async_views_logout_closes_them_too(leelas_session: str) -> None:
    socket = await signed_in(leelas_session)
    await alogout(request_of(leelas_session))
    assert await socket.next() == LOGGED_OUT
    await socket.end()


async def test_a_socket_that_comes_back_at_once_finds_no_session(leelas_session: str) -> None:
    """Django's signal comes before the session has ended; the sockets are closed after."""
    at_close: list[str] = []

    class Returning(AsyncWebsocketConsumer):
        async def disconnect(self, code):
            at_close.append(await user_at_handshake(leelas_session))

    socket = await signed_in(leelas_session, Returning)
    await alogout(request_of(leelas_session))
    await until(lambda: at_close)
    assert at_close == ["nobody"]
    await socket.end()


async def test_a_logout_that_is_rolled_back_closes_nothing(leela: User, leelas_session: str) -> None:
    socket = await signed_in(leelas_session)

    def log_out(commit: bool) -> None:
        with transaction.atomic():
            django_logout(request_of(leelas_session, leela))
            SocketsOf(leela).broadcast("not yet", immediate=True)
            if not commit:
                transaction.set_rollback(True)

    await in_thread(log_out, False)
    await in_thread(log_out, True)
    assert [await socket.text(), await socket.text(), await socket.next()] == [
        "not yet",
        "not yet",
        LOGGED_OUT,
    ]
    await socket.end()


async def test_a_session_can_be_ended_without_a_request(leelas_session: str) -> None:
    socket = await signed_in(leelas_session)
    await in_thread(close_sockets_of_session, leelas_session)
    assert await socket.next() == LOGGED_OUT
    await socket.end()


@override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.test_auth.Broken"}})
@pytest.mark.parametrize("log_out", [alogout, lambda request: in_thread(django_logout, request)])
async def test_without_a_broker_one_logs_out_all_the_same(
    log_out: Any, leelas_session: str, caplog: pytest.LogCaptureFixture
) -> None:
    await log_out(request_of(leelas_session))
    assert await in_thread(stored, leelas_session) == {}
    assert "The sockets or tickets of a session that has ended could not be ended" in caplog.text


class Broken(MemoryLayer):
    """A layer whose broker does not answer."""

    def publish_from_thread(self, *args: Any, **kwargs: Any) -> None:
        raise LayerUnavailable("no broker")

    def start_publish(self, *args: Any, **kwargs: Any) -> Any:
        raise LayerUnavailable("no broker")


async def test_logging_in_as_somebody_else_over_the_socket_leaves_the_first_ones_group(
    leela: User, leelas_session: str
) -> None:
    fry = await in_thread(make_user, "fry")

    class Switch(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await login(self.scope, fry)
            await self.send("switched")

    socket = await signed_in(leelas_session, Switch)
    socket.say("switch")
    assert await socket.text() == "switched"
    await SocketsOf(leela).abroadcast("for leela")
    await in_thread(close_sockets_of_session, leelas_session)
    await SocketsOf(fry).abroadcast("for fry")
    assert await socket.text() == "for fry"
    await socket.goodbye()


async def test_receivers_of_djangos_signals_see_the_handshake_as_a_request(leela: User) -> None:
    seen: list[Any] = []

    def receiver(request: HttpRequest, **kwargs: Any) -> None:
        seen.append(
            (request.META["REMOTE_ADDR"], request.headers["user-agent"], request.COOKIES, request.path)
        )

    scope, _ = await call(
        AuthMiddlewareStack(note("x")),
        path="/chat/",
        client=("192.0.2.1", 5000),
        headers=[(b"user-agent", b"curl"), (b"cookie", b"theme=dark")],
    )
    user_logged_in.connect(receiver)
    try:
        await login(scope, leela)
    finally:
        user_logged_in.disconnect(receiver)
    assert seen == [("192.0.2.1", "curl", {"theme": "dark"}, "/chat/")]


async def test_session_and_user_take_one_visit_to_a_thread(
    leelas_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = 0
    submit = LentThread.submit

    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal visits
        visits += 1
        return submit(self, *args, **kwargs)

    monkeypatch.setattr(LentThread, "submit", count)
    socket = await signed_in(leelas_session)
    await socket.goodbye()
    assert visits == 1
    assert await user_at_handshake(None) == "nobody"
    assert visits == 1


async def test_over_http_the_cookie_tells_the_client(leela: User) -> None:
    class Door(AsyncHttpConsumer):
        async def handle(self, body):
            if body == b"in":
                await login(self.scope, leela)
            else:
                await logout(self.scope)
            await self.send_response(200, self.scope["user"].get_username().encode() or b"nobody")

    door = AuthMiddlewareStack(Door.as_asgi())

    async def ask(body: bytes, key: str | None) -> tuple[bytes, str]:
        response = await HttpCommunicator(
            door, "POST", "/", body=body, headers=headers(key) if key else []
        ).get_response()
        [cookie] = [value.decode() for name, value in response["headers"] if name == b"set-cookie"]
        return response["body"], cookie.removeprefix("sessionid=").partition(";")[0]

    name, key = await ask(b"in", None)
    assert name == b"leela"
    assert await user_at_handshake(key) == "leela"
    socket = await signed_in(key)
    assert await ask(b"out", key) == (b"nobody", '""')
    assert await socket.next() == LOGGED_OUT
    await socket.end()
    assert await user_at_handshake(key) == "nobody"


async def test_a_stream_of_events_ends_with_its_session(leelas_session: str) -> None:
    class Feed(SseConsumer):
        """Sends nothing by itself."""

    stream = HttpCommunicator(
        AuthMiddlewareStack(Feed.as_asgi()),
        "GET",
        "/",
        headers=[*headers(leelas_session), (b"accept", b"text/event-stream")],
    )
    await stream.send_input({"type": "http.request"})
    start = await stream.receive_output()
    assert start["status"] == 200
    await in_thread(close_sockets_of_session, leelas_session)
    while (await stream.receive_output()).get("more_body"):
        pass
    await stream.wait()


async def test_a_socket_that_a_token_signed_in_is_nobodys_after_logout(leela: User) -> None:
    """There is no session whose end could close it."""

    class Leaving(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await logout(self.scope)
            await self.send(str(self.user))

    application = AuthMiddlewareStack(TokenAuthMiddleware(Leaving.as_asgi()))
    token = await in_thread(make_token, leela)
    socket = Socket(application, lane=True, headers=[(b"authorization", b"Bearer " + token.encode())])
    await socket.connect()
    assert await SocketsOf(leela).acount() == 1
    socket.say("log out")
    assert await socket.text() == "AnonymousUser"
    assert await SocketsOf(leela).acount() == 0
    await socket.goodbye()
