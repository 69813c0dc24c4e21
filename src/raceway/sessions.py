"""Cookies and Django's session for connections: read once, at the handshake."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.http import parse_cookie

from raceway.conf import on_change
from raceway.routing import ConnectMiddleware
from raceway.types import ASGIApplication, Scope


class CookieMiddleware(ConnectMiddleware):
    """``scope["cookies"]``: the client's cookies by name."""

    async def prepare(self, scope: Scope) -> None:
        scope["cookies"] = cookies_of(scope)


class SessionMiddleware(ConnectMiddleware):
    """``scope["session"]``: Django's session of the client's cookie; an empty one without it.

    It reads nothing from the database by itself: await ``session.aget(...)``, or use it in a ``def`` handler.
    Over a WebSocket no cookie can be set, so changes want ``await session.asave()``.
    """

    async def prepare(self, scope: Scope) -> None:
        if "session" in scope:
            return
        if "cookies" not in scope:
            raise ValueError("No cookies in the scope: SessionMiddleware goes inside CookieMiddleware.")
        scope["session"] = session_store()(scope["cookies"].get(settings.SESSION_COOKIE_NAME))


def SessionMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:
    """Cookies and session around ``inner``."""
    return CookieMiddleware(SessionMiddleware(inner))


def cookies_of(scope: Scope) -> dict[str, str]:
    """The cookies of all ``cookie`` headers: HTTP/2 may split them (RFC 9113 section 8.2.3)."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    return parse_cookie("; ".join(values)) if values else {}


@cache
def session_store() -> type[Any]:
    """The class that ``SESSION_ENGINE`` names."""
    store: type[Any] = import_module(settings.SESSION_ENGINE).SessionStore
    return store


on_change("SESSION_ENGINE", session_store.cache_clear)
