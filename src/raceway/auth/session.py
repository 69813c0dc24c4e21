"""Django's users for connections: found as Django finds them for requests."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.contrib import auth
from django.core.handlers.asgi import ASGIRequest

from raceway.auth.membership import anonymous, sign_in, sign_out
from raceway.layers.user import session_group_name
from raceway.sessions import cookies_of, read_session
from raceway.threads import run_lent
from raceway.types import Scope

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser
    from django.contrib.sessions.backends.base import SessionBase


async def get_user(scope: Scope) -> AbstractBaseUser | AnonymousUser:
    """The user of the session in ``scope``, by Django's own rules: the backend must be configured, and the
    session's hash right by ``SECRET_KEY`` or one of ``SECRET_KEY_FALLBACKS``.

    Raises ``ValueError`` without a session in the scope.
    """
    session = _session_of(scope)
    if session.session_key is None and session.is_empty():
        return anonymous()
    return await run_lent(_user_of, session)


async def login(scope: Scope, user: AbstractBaseUser | None = None, backend: str | None = None) -> None:
    """Let ``user``, or else the one in ``scope``, be the user of the connection and its session, and save that.

    From now on the socket is one of ``raceway.User(user)``, and is closed when its session logs out.
    The session gets a new key. Over HTTP the response tells the client; over a WebSocket nothing can, and its next
    request comes without the session: log in over HTTP where you can.

    Raises ``ValueError`` without a session or a user.
    """
    _session_of(scope)
    user = user or scope.get("user")
    if user is None or not user.is_authenticated:
        raise ValueError("User must be passed as an argument or must be present in the scope.")
    before = scope.get("user")
    if before is not None and before.is_authenticated:
        sign_in(scope, before, None)  # the session may be another user's, and end now: this socket goes on
    await auth.alogin(_request(scope), user, backend)
    session = scope["session"]
    await session.asave()
    sign_in(scope, user, session_group_name(session.session_key))


async def logout(scope: Scope) -> None:
    """End the session, and close its sockets with 4401: this one and all others.

    An HTTP request goes on, and so does a socket that something else has signed in, such as a token: as nobody's.
    """
    key = _session_of(scope).session_key
    request = _request(scope)
    request.auser = partial(_same, scope.get("user"))
    is_closed = key is not None and session_group_name(key) in scope.get("raceway.groups", ())
    if scope["type"] == "http" or not is_closed:
        sign_out(scope)
    await auth.alogout(request)
    scope["user"] = anonymous()


class HandshakeSession:
    """A session as Django's ``get_user`` sees it at a handshake.

    A key that ``SECRET_KEY_FALLBACKS`` verified is not changed now: no cookie could tell the client of the new
    one, and the user would be logged out. The next HTTP request changes it.
    """

    __slots__ = ("_session",)

    def __init__(self, session: SessionBase) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Left to the next HTTP request."""

    def cycle_key(self) -> None:
        """Left to the next HTTP request."""


class Handshake:
    """As much of a request as Django's ``get_user`` looks at: a whole one costs more than the rest of it."""

    __slots__ = ("session",)

    def __init__(self, session: SessionBase) -> None:
        self.session = HandshakeSession(session)


def _user_of(session: SessionBase) -> AbstractBaseUser | AnonymousUser:
    """Session and user in one visit to a thread; Django's ``aget_user`` makes one for each query."""
    read_session(session)
    return auth.get_user(Handshake(session))  # type: ignore[arg-type]


def _session_of(scope: Scope) -> SessionBase:
    try:
        session: SessionBase = scope["session"]
    except KeyError:
        raise ValueError(
            "Cannot find session in scope. You should wrap your consumer in SessionMiddleware."
        ) from None
    return session


def _request(scope: Scope) -> ASGIRequest:
    """The handshake as the request that receivers of Django's signals expect."""
    request = ASGIRequest({"method": "GET", "query_string": b"", **scope}, BytesIO())
    request.session = scope["session"]
    request.COOKIES = cookies_of(scope)  # Django joins several headers by a comma
    return request


async def _same(user: Any) -> Any:
    return user
