from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from raceway import User as SocketsOf
from raceway import clock
from raceway.auth import (
    AuthMiddlewareStack,
    LoginRequiredMiddleware,
    TokenAuthMiddleware,
    close_sockets_of_session,
    make_ticket,
    make_token,
    verify_token,
)
from raceway.consumers import AsyncWebsocketConsumer
from raceway.errors import ConfigurationError
from tests.consumers.driver import Socket
from tests.project.consumers import Quiet
from tests.project.database import AnonymousUser, User, in_thread, make_user
from tests.routing.calls import call, note

REFUSED = [{"type": "websocket.close"}]


@pytest.fixture
def leela() -> User:
    return make_user("leela")


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    yield
    caches["default"].clear()


@pytest.fixture
def later() -> Iterator[Any]:
    """Moves the clock; puts it back."""
    moved: list[float] = []

    def move(seconds: float) -> None:
        moved.append(seconds)
        clock.move(seconds)

    yield move
    clock.move(-sum(moved))


# Tokens and tickets as values


def test_a_token_proves_a_user_until_it_expires(leela: User, later: Any) -> None:
    token = make_token(leela, max_age_s=60)
    until = clock.now() + 60
    later(59)
    proof = verify_token(token)
    assert proof is not None
    assert proof[0] == leela
    assert proof[1] == pytest.approx(until, abs=0.5)
    later(1.1)
    assert verify_token(token) is None


def test_it_can_stand_in_a_header_and_in_an_address(leela: User) -> None:
    for proof in (make_token(leela), make_ticket(leela)):
        assert re.fullmatch(r"[A-Za-z0-9\-_.]+", proof)
        assert len(proof) < 400


def test_it_tells_nothing_of_the_password(leela: User) -> None:
    payload = make_token(leela).partition(".")[0]
    text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
    assert set(json.loads(text)) == {"user", "until", "password"}
    assert leela.password not in text
    assert leela.get_session_auth_hash() not in text


@pytest.mark.parametrize(
    "spoil", [str.lower, lambda token: token[:-1], lambda token: "", lambda token: "a.b"]
)
def test_a_spoilt_token_is_no_good(leela: User, spoil: Any) -> None:
    assert verify_token(spoil(make_token(leela))) is None


def test_a_ticket_is_no_token(leela: User) -> None:
    assert verify_token(make_ticket(leela)) is None


def test_a_changed_password_revokes_it(leela: User) -> None:
    token = make_token(leela)
    leela.set_password("another")
    leela.save()
    assert verify_token(token) is None


def test_who_may_not_log_in_has_no_token(leela: User) -> None:
    token = make_token(leela)
    leela.is_active = False
    leela.save()
    assert verify_token(token) is None
    leela.delete()
    assert verify_token(token) is None


def test_a_key_among_the_fallbacks_counts(leela: User) -> None:
    token = make_token(leela)
    with override_settings(SECRET_KEY="a new key", SECRET_KEY_FALLBACKS=["a key for tests"]):
        assert verify_token(token) is not None
    with override_settings(SECRET_KEY="a new key"):
        assert verify_token(token) is None


@pytest.mark.parametrize("make", [make_token, make_ticket])
def test_nobody_gets_none(make: Any) -> None:
    for user in (AnonymousUser(), User(username="unsaved")):
        with pytest.raises(ValueError, match="no primary key"):
            make(user)


def test_a_ticket_lasts_minutes_at_most(leela: User) -> None:
    with pytest.raises(ValueError, match=r"at most 300 s, not 3600: .* Use make_token\(\)"):
        make_ticket(leela, max_age_s=3600)


def test_a_cache_that_keeps_nothing_will_not_do(leela: User) -> None:
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    with (
        override_settings(CACHES={"default": dummy}),
        pytest.raises(
            ConfigurationError, match=r"could be used twice: name another one in RACEWAY\['TICKET_CACHE'\]"
        ),
    ):
        make_ticket(leela)


def test_a_cache_that_adds_a_key_twice_will_not_do(leela: User, tmp_path: Path) -> None:
    """Django's file cache looks and then writes: two at once both add."""
    files = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    with (
        override_settings(CACHES={"default": files}),
        pytest.raises(ConfigurationError, match=r"is of files, .* could be used twice"),
    ):
        make_ticket(leela)


def test_a_cache_of_one_process_is_told_of_once(leela: User, caplog: pytest.LogCaptureFixture) -> None:
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with (
        override_settings(CACHES={"default": local, "tickets": local}, RACEWAY={"TICKET_CACHE": "tickets"}),
        caplog.at_level(logging.INFO, "raceway.auth"),
    ):
        make_ticket(leela)
        make_ticket(leela)
    [record] = caplog.records
    assert "in the cache 'tickets', which each process has for itself" in record.getMessage()


# At the handshake


def bearer(token: str) -> dict[str, Any]:
    return {"headers": [(b"authorization", f"Bearer {token}".encode())]}


def subprotocols(*names: str) -> dict[str, Any]:
    return {"subprotocols": list(names)}


def query(text: str) -> dict[str, Any]:
    return {"query_string": text.encode()}


async def person(application: Any = None, **scope: Any) -> Any:
    """The user that a connection gets; ``None`` if it is refused."""
    reached, sent = await call(application or TokenAuthMiddleware(note("x")), **scope)
    if reached is None:
        assert sent == REFUSED
        return None
    return reached["user"]


async def test_by_header(leela: User) -> None:
    token = make_token(leela)
    assert await person(**bearer(token)) == leela
    assert await person(headers=[(b"authorization", b"bearer  " + token.encode())]) == leela
    assert await person(**bearer(token), type="http") == leela


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (["bearer", "TOKEN"], ["bearer"]),
        (["chat.v2", "bearer", "TOKEN", "chat.v1"], ["chat.v2", "bearer", "chat.v1"]),
    ],
)
async def test_by_subprotocol(leela: User, offered: list[str], left: list[str]) -> None:
    token = make_token(leela)
    scope, _ = await call(
        TokenAuthMiddleware(note("x")),
        **subprotocols(*(token if name == "TOKEN" else name for name in offered)),
    )
    assert scope["user"] == leela
    assert scope["subprotocols"] == left


class Talk(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(self.choice)


@pytest.mark.parametrize(("choice", "accepted"), [(None, "bearer"), ("chat.v1", "chat.v1")])
async def test_a_browser_is_answered_with_a_subprotocol_that_it_offered(
    leela: User, choice: str | None, accepted: str
) -> None:
    consumer = type("Chosen", (Talk,), {"choice": choice})
    offered = ["chat.v1", "bearer", make_token(leela)]
    socket = Socket(TokenAuthMiddleware(consumer.as_asgi()), lane=True, subprotocols=offered)
    assert await socket.connect() == {"type": "websocket.accept", "subprotocol": accepted}
    await socket.goodbye()


async def test_by_ticket_once(leela: User) -> None:
    ticket = make_ticket(leela)
    assert await person(**query(f"room=1&ticket={ticket}")) == leela
    assert await person(**query(f"ticket={ticket}")) is None
    assert await person(**query(f"ticket={make_ticket(leela)}")) == leela


async def test_many_at_once_use_a_ticket_once(leela: User) -> None:
    scope = query(f"ticket={make_ticket(leela)}")
    found = await asyncio.gather(*(person(**scope) for _ in range(8)))
    assert [one for one in found if one is not None] == [leela]


async def test_a_ticket_expires_and_is_revoked(leela: User, later: Any) -> None:
    ticket = make_ticket(leela)
    leela.set_password("another")
    await leela.asave()
    assert await person(**query(f"ticket={ticket}")) is None
    ticket = make_ticket(leela)
    later(31)
    assert await person(**query(f"ticket={ticket}")) is None


async def test_a_token_in_an_address_is_refused(leela: User) -> None:
    token = make_token(leela)
    assert await person(**query(f"ticket={token}")) is None
    assert (await person(**query(f"token={token}"))).is_anonymous


@pytest.mark.parametrize(
    "scope",
    [
        bearer("nonsense"),
        bearer(""),
        {"headers": bearer("a")["headers"] * 2},
        subprotocols("bearer"),
        subprotocols("bearer", "nonsense"),
        query("ticket="),
        query("ticket=nonsense"),
        query("ticket=a&ticket=b"),
    ],
)
async def test_what_proves_nothing_is_refused_whatever_the_session_says(leela: User, scope: Any) -> None:
    assert await person(**scope, user=leela) is None


@pytest.mark.parametrize(
    "scope", [{}, {"headers": [(b"authorization", b"Basic eDp5")]}, subprotocols("chat"), query("tickets=1")]
)
async def test_who_brings_nothing_is_left_as_found(leela: User, scope: Any) -> None:
    assert (await person(**scope)).is_anonymous
    assert await person(**scope, user=leela) == leela


async def test_a_token_takes_the_place_of_the_sessions_user(leela: User) -> None:
    fry = await in_thread(make_user, "fry")
    groups = ["mine", "raceway.user.0", "raceway.session.0"]
    scope = {**bearer(make_token(fry)), "user": leela, "raceway.groups": groups}
    reached, _ = await call(TokenAuthMiddleware(note("x")), **scope)
    assert reached["user"] == fry
    assert reached["raceway.groups"] == ["mine", SocketsOf(fry).name]
    assert groups == ["mine", "raceway.user.0", "raceway.session.0"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_other_tokens(leela: User, is_async: bool, later: Any) -> None:
    in_a_minute = clock.now() + 60
    answers = {"a": leela, "b": (leela, in_a_minute), "c": (leela, None), "d": AnonymousUser()}

    def verify(token: str) -> Any:
        return answers.get(token)

    async def averify(token: str) -> Any:
        return answers.get(token)

    application = TokenAuthMiddleware(note("x"), verify=averify if is_async else verify)
    for token, until in [("a", None), ("b", in_a_minute), ("c", None)]:
        scope, _ = await call(application, **bearer(token))
        assert (scope["user"], scope.get("raceway.expires_at")) == (leela, until)
    assert [await person(application, **bearer(token)) for token in "de"] == [None, None]
    later(61)
    assert await person(application, **bearer("b")) is None
    leela.is_active = False
    assert await person(application, **bearer("a")) is None


@pytest.mark.parametrize(
    "scope", [bearer(""), {"headers": bearer("a")["headers"] * 2}, subprotocols("bearer")]
)
async def test_nobody_is_asked_whose_an_empty_token_is(leela: User, scope: Any) -> None:
    """In a table of tokens, those who have none may have an empty one."""
    assert await person(TokenAuthMiddleware(note("x"), verify={"": leela}.get), **scope) is None


async def test_whom_a_backend_lets_in_although_it_is_not_active_has_no_ticket_either(leela: User) -> None:
    ticket = make_ticket(leela)
    leela.is_active = False
    await leela.asave()
    with override_settings(
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    ):
        assert await person(**query(f"ticket={ticket}")) is None


async def test_a_socket_ends_with_its_token(leela: User) -> None:
    reached, _ = await call(TokenAuthMiddleware(note("x")), **bearer(make_token(leela, max_age_s=60)))
    assert reached["raceway.expires_at"] == pytest.approx(clock.now() + 60, abs=5)


async def test_a_socket_is_one_of_its_users(leela: User) -> None:
    socket = Socket(TokenAuthMiddleware(Quiet.as_asgi()), lane=True, **bearer(make_token(leela)))
    await socket.connect()
    await SocketsOf(leela).abroadcast("hello")
    assert await socket.text() == "hello"
    await socket.goodbye()


async def test_a_tickets_socket_ends_with_its_session(leela: User) -> None:
    ticket = make_ticket(leela, session_key="the-session")
    socket = Socket(TokenAuthMiddleware(Quiet.as_asgi()), lane=True, **query(f"ticket={ticket}"))
    await socket.connect()
    assert "raceway.expires_at" not in socket.scope
    await in_thread(close_sockets_of_session, "the-session")
    assert (await socket.next())["code"] == 4401
    await socket.end()


async def test_a_ticket_ends_with_its_session(leela: User) -> None:
    """Its socket could not be closed any more: the session has logged out already."""
    ticket, another = make_ticket(leela, session_key="the-session"), make_ticket(leela, session_key="another")
    await in_thread(close_sockets_of_session, "the-session")
    assert await person(**query(f"ticket={ticket}")) is None
    assert await person(**query(f"ticket={another}")) == leela


# Nobody further without a user


async def test_who_is_not_signed_in_gets_no_further(leela: User) -> None:
    application = AuthMiddlewareStack(TokenAuthMiddleware(LoginRequiredMiddleware(note("x"))))
    assert await person(application, **bearer(make_token(leela))) == leela
    assert await person(application) is None


async def test_it_goes_inside_what_finds_the_user() -> None:
    with pytest.raises(ConfigurationError, match="goes inside AuthMiddlewareStack or TokenAuthMiddleware"):
        await call(LoginRequiredMiddleware(note("x")))
