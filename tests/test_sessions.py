from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from raceway.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from raceway.sessions import CookieMiddleware, SessionMiddleware, SessionMiddlewareStack, read_session
from tests.consumers.driver import Socket
from tests.project.database import Session, migrate
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


# Cookies in a response


@pytest.mark.parametrize("kind", ["http.response.start", "websocket.accept"])
def test_a_cookie_is_set(kind: str) -> None:
    message: dict[str, Any] = {"type": kind, "headers": ((b"x", b"y"),)}
    CookieMiddleware.set_cookie(
        message, "a", "1", max_age=60, secure=True, httponly=True, domain="example.com"
    )
    assert message["headers"][0] == (b"x", b"y")
    name, value = message["headers"][1]
    assert name == b"set-cookie"
    assert value.startswith(b"a=1; Domain=example.com; expires=")
    assert value.endswith(b"; HttpOnly; Max-Age=60; Path=/; SameSite=Lax; Secure")


def set_cookie(**options: Any) -> str:
    message: dict[str, Any] = {"type": "http.response.start"}
    CookieMiddleware.set_cookie(message, "a", "1", **options)
    [(_, value)] = message["headers"]
    return value.decode()


NEXT_YEAR = datetime.now(UTC).replace(hour=12) + timedelta(days=365)


@pytest.mark.parametrize(
    "expires",
    [
        NEXT_YEAR,
        NEXT_YEAR.astimezone(timezone(timedelta(hours=5))),
        NEXT_YEAR.replace(tzinfo=None),  # naive: UTC
    ],
)
def test_v29_a_cookie_expires_at_a_datetime(expires: datetime) -> None:
    given = set_cookie(expires=expires)
    assert f"expires={NEXT_YEAR:%a, %d %b %Y} 12:" in given
    age_s = int(given.partition("Max-Age=")[2].partition(";")[0])
    assert age_s == pytest.approx((NEXT_YEAR - datetime.now(UTC)).total_seconds(), abs=5)


def test_a_cookie_expires_at_a_date_of_http() -> None:
    assert "expires=Wed, 21 Oct 2026 07:28:00 GMT" in set_cookie(expires="Wed, 21 Oct 2026 07:28:00 GMT")


def test_a_cookie_of_the_session_only() -> None:
    assert set_cookie(samesite=None) == "a=1; Path=/"


def test_what_django_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="samesite must be"):
        set_cookie(samesite="perhaps")


def test_a_cookie_is_deleted() -> None:
    message: dict[str, Any] = {"type": "http.response.start"}
    CookieMiddleware.delete_cookie(message, "a", path="/p", domain="example.com")
    [(_, value)] = message["headers"]
    assert value.startswith(
        b'a=""; Domain=example.com; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/p'
    )


async def test_what_has_no_headers_has_no_cookies() -> None:
    with pytest.raises(ValueError, match="A 'channel' scope has no headers"):
        await CookieMiddleware(note("x"))({"type": "channel", "channel": "x"}, None, None)


# Sessions over HTTP


async def respond(change: Any, key: str | None = None, status: int = 200, **options: Any) -> Any:
    """Serve one HTTP request that calls ``change(session)``; return the response's start."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await change(scope["session"])
        await send({"type": "http.response.start", "status": status, **options})
        await send({"type": "http.response.body", "body": b"x"})

    async def send(event: Any) -> None:
        sent.append(event)

    headers = cookie(f"sessionid={key}") if key else []
    scope = {"type": "http", "path": "/", "headers": headers}
    await SessionMiddlewareStack(SessionMiddlewareStack(application))(scope, None, send)  # the outer one wins
    start, body = sent
    assert body == {"type": "http.response.body", "body": b"x"}
    return start


def cookies_set(start: Any) -> list[str]:
    return [value.decode() for name, value in start.get("headers", ()) if name == b"set-cookie"]


def varies(start: Any) -> list[bytes]:
    return [value for name, value in start.get("headers", ()) if name == b"vary"]


async def put_fruit(session: Any) -> None:
    await session.aset("fruit", "plum")


async def look(session: Any) -> None:
    await session.aget("fruit")


async def nothing(session: Any) -> None:
    pass


def stored(key: str) -> dict[str, Any]:
    return SessionStore(key).load()


async def test_a_changed_session_is_saved_and_its_cookie_set() -> None:
    migrate()
    start = await respond(put_fruit)
    [text] = cookies_set(start)
    key = text.removeprefix("sessionid=").partition(";")[0]
    assert await sync_to_async(stored)(key) == {"fruit": "plum"}
    assert text.partition("; ")[2].startswith("expires=")
    assert text.endswith("; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax")
    assert varies(start) == [b"Cookie"]


@override_settings(
    SESSION_COOKIE_NAME="sessionid",
    SESSION_COOKIE_AGE=60,
    SESSION_COOKIE_DOMAIN="example.com",
    SESSION_COOKIE_PATH="/app",
    SESSION_COOKIE_SECURE=True,
    SESSION_COOKIE_HTTPONLY=False,
    SESSION_COOKIE_SAMESITE="Strict",
)
async def test_the_cookie_is_as_the_settings_say() -> None:
    [text] = cookies_set(await respond(put_fruit))
    assert "Domain=example.com; expires=" in text
    assert text.endswith("; Max-Age=60; Path=/app; SameSite=Strict; Secure")


async def test_a_cookie_until_the_browser_closes() -> None:
    with override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True):
        [text] = cookies_set(await respond(put_fruit))
    assert text.endswith("; HttpOnly; Path=/; SameSite=Lax")
    assert "expires" not in text


async def test_a_session_that_was_only_read(session_key: str) -> None:
    start = await respond(look, session_key, headers=[(b"vary", b"Accept")])
    assert cookies_set(start) == []
    assert varies(start) == [b"Accept", b"Cookie"]
    start = await respond(look, session_key, headers=[(b"Vary", b"Accept, cookie")])
    assert varies(start) == []
    assert "headers" not in await respond(nothing, session_key)


async def test_save_every_request(session_key: str) -> None:
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        [text] = cookies_set(await respond(nothing, session_key))
        assert text.startswith(f"sessionid={session_key};")
        assert cookies_set(await respond(nothing)) == []  # an empty one has nothing to save


async def test_an_error_saves_nothing(session_key: str) -> None:
    assert cookies_set(await respond(put_fruit, session_key, status=500)) == []
    assert (await sync_to_async(stored)(session_key))["fruit"] == "apple"


async def test_an_ended_session_deletes_the_cookie(session_key: str) -> None:
    async def end(session: Any) -> None:
        await session.aflush()

    start = await respond(end, session_key)
    [text] = cookies_set(start)
    assert text == 'sessionid=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax'
    assert varies(start) == [b"Cookie"]


async def test_a_session_that_another_request_ended_is_not_saved_again(session_key: str) -> None:
    async def end_elsewhere(session: Any) -> None:
        await session.aset("fruit", "plum")
        await SessionStore(session_key).adelete()

    with pytest.raises(SessionInterrupted, match="deleted before the request completed"):
        await respond(end_elsewhere, session_key)
    assert await sync_to_async(stored)(session_key) == {}


# Sessions over a WebSocket


class Writer(AsyncWebsocketConsumer):
    """Changes its session as it is told: at the handshake, then by each message, at last when it ends."""

    async def connect(self):
        await self.scope["session"].aset("connected", 1)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "forget":
            await self.scope["session"].apop("gone")
        else:
            await self.scope["session"].aset("said", text_data)
        await self.send("done")

    async def disconnect(self, code):
        await self.scope["session"].aset("ended", code)


async def say(socket: Socket, text: str) -> None:
    socket.say(text)
    assert await socket.text() == "done"


async def test_a_sockets_session_is_saved_at_the_handshake_and_at_the_end() -> None:
    key = await sync_to_async(saved_session)(fruit="apple", gone=1)
    socket = Socket(SessionMiddlewareStack(Writer.as_asgi()), lane=True, headers=cookie(f"sessionid={key}"))
    await socket.connect()
    await say(socket, "hello")
    assert await sync_to_async(stored)(key) == {"fruit": "apple", "gone": 1, "connected": 1}
    await say(socket, "forget")
    elsewhere = SessionStore(key)
    await elsewhere.aset("fruit", "plum")
    await elsewhere.aset("cart", [1])
    await elsewhere.asave()
    await socket.goodbye()
    # What others changed meanwhile is kept.
    assert await sync_to_async(stored)(key) == {
        "fruit": "plum",
        "cart": [1],
        "connected": 1,
        "said": "hello",
        "ended": 1001,
    }


async def test_a_session_that_ended_meanwhile_does_not_come_back() -> None:
    key = await sync_to_async(saved_session)(fruit="apple")
    socket = Socket(SessionMiddlewareStack(Writer.as_asgi()), lane=True, headers=cookie(f"sessionid={key}"))
    await socket.connect()
    await say(socket, "hello")
    await SessionStore(key).adelete()
    await socket.goodbye()
    assert await sync_to_async(stored)(key) == {}


@pytest.mark.parametrize("headers", [[], cookie("sessionid=nosuchsession")])
async def test_a_socket_without_a_session_makes_none(headers: Any) -> None:
    migrate()
    before = await Session.objects.acount()
    socket = Socket(SessionMiddlewareStack(Writer.as_asgi()), lane=True, headers=headers)
    await socket.connect()
    await say(socket, "hello")
    await socket.goodbye()
    assert await Session.objects.acount() == before


async def test_a_socket_that_changes_nothing_saves_nothing(session_key: str) -> None:
    socket = Socket(
        SessionMiddlewareStack(AsyncReader.as_asgi()), lane=True, headers=cookie(f"sessionid={session_key}")
    )
    await socket.connect()
    assert await socket.text() == "apple"
    await SessionStore(session_key).adelete()
    await socket.goodbye()
    assert await sync_to_async(stored)(session_key) == {}


# The shorter way to a session


@pytest.mark.parametrize("use_tz", [True, False])
def test_it_reads_what_djangos_store_reads(session_key: str, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        session = SessionStore(session_key)
        read_session(session)
        assert session._session_cache == {"fruit": "apple"}
        assert not session.modified


def test_it_is_one_query_whose_words_are_djangos(session_key: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        session = SessionStore(session_key)
        read_session(session)
        assert session["fruit"] == "apple"
    [ours] = queries
    with CaptureQueriesContext(connection) as queries:
        SessionStore(session_key).load()
    [djangos] = queries
    for condition in ours["sql"].partition(" WHERE ")[2].strip("()").split(" AND "):
        assert condition.partition("20")[0] in djangos["sql"]  # as far as the time, which is another one
    assert f"'{session_key}'" in ours["sql"]


@pytest.mark.parametrize("key", [None, "nosuchsession"])
def test_one_that_is_not_there_is_left_to_django(key: str | None) -> None:
    migrate()
    session = SessionStore(key)
    read_session(session)
    assert not hasattr(session, "_session_cache")
    assert session.get("fruit") is None
    assert session.session_key is None


def test_one_that_has_expired_is_not_there() -> None:
    key = saved_session(fruit="apple", _session_expiry=-1)
    session = SessionStore(key)
    read_session(session)
    assert not hasattr(session, "_session_cache")


def test_one_of_another_store_and_one_that_was_read_are_left_alone(session_key: str) -> None:
    class Mine(SessionStore):
        pass

    session = Mine(session_key)
    read_session(session)
    assert not hasattr(session, "_session_cache")
    session = SessionStore(session_key)
    session["fruit"] = "plum"
    read_session(session)
    assert session["fruit"] == "plum"


def test_a_database_whose_text_wants_converting_is_left_to_django(
    session_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    session = SessionStore(session_key)
    read_session(session)
    assert not hasattr(session, "_session_cache")
