"""Django's users for connections: found once, at the handshake, as Django finds them for requests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import auth
from django.http import HttpRequest

from raceway.routing import ConnectMiddleware
from raceway.sessions import CookieMiddleware, SessionMiddlewareStack
from raceway.types import ASGIApplication, Scope

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser
    from django.contrib.sessions.backends.base import SessionBase


class AuthMiddleware(ConnectMiddleware):
    """``scope["user"]``: who the session belongs to, or ``AnonymousUser``."""

    async def prepare(self, scope: Scope) -> None:
        if "user" not in scope:
            scope["user"] = await get_user(scope)


def AuthMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:
    """Cookies, session and user around ``inner``."""
    return SessionMiddlewareStack(AuthMiddleware(inner))


async def get_user(scope: Scope) -> AbstractBaseUser | AnonymousUser:
    """The user of the session in ``scope``, by Django's own rules: the backend must be configured, and the
    session's hash right by ``SECRET_KEY`` or one of ``SECRET_KEY_FALLBACKS``.

    Raises ``ValueError`` without a session in the scope.
    """
    session = _session_of(scope)
    if session.session_key is None and session.is_empty():
        return _anonymous()
    return await auth.aget_user(_request(HandshakeSession(session)))


async def login(scope: Scope, user: AbstractBaseUser | None = None, backend: str | None = None) -> None:
    """Let ``user``, or else the one in ``scope``, be the user of the connection and its session, and save that.

    The session gets a new key, which a client learns from an HTTP response only: log in over HTTP where you
    can. Raises ``ValueError`` without a session or a user.
    """
    session = _session_of(scope)
    user = user or scope.get("user")
    if user is None:
        raise ValueError("User must be passed as an argument or must be present in the scope.")
    await auth.alogin(_request(session), user, backend)
    await session.asave()
    scope["user"] = user


async def logout(scope: Scope) -> None:
    """End the session, and let the connection go on as ``AnonymousUser``'s."""
    request = _request(_session_of(scope))
    request.auser = partial(_same, scope.get("user"))
    await auth.alogout(request)
    scope["user"] = _anonymous()


class HandshakeSession:
    """A session as Django's ``aget_user`` sees it at a handshake.

    A key that ``SECRET_KEY_FALLBACKS`` verified is not changed now: no cookie could tell the client of the new
    one, and the user would be logged out. The next HTTP request changes it.
    """

    def __init__(self, session: SessionBase) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def acycle_key(self) -> None:
        """Left to the next HTTP request."""

    async def aset(self, key: str, value: Any) -> None:
        """Left to the next HTTP request."""


def _session_of(scope: Scope) -> SessionBase:
    try:
        session: SessionBase = scope["session"]
    except KeyError:
        raise ValueError(
            "Cannot find session in scope. You should wrap your consumer in SessionMiddleware."
        ) from None
    return session


def _request(session: SessionBase | HandshakeSession) -> HttpRequest:
    """The little of a request that Django's functions and signals look at."""
    request = HttpRequest()
    request.session = session  # type: ignore[assignment]
    return request


async def _same(user: Any) -> Any:
    return user


def _anonymous() -> AnonymousUser:
    from django.contrib.auth.models import AnonymousUser  # only when the app registry is ready

    return AnonymousUser()
