"""Cookies and Django's session for connections: read once, at the handshake."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.db import connections, router
from django.http import HttpRequest, HttpResponse, parse_cookie
from django.utils import timezone

from raceway.conf import on_change
from raceway.routing import ConnectMiddleware
from raceway.routing.begin import begin
from raceway.types import ASGIApplication, Event, Prepare, Receive, Scope, Send

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase


PLAIN_TEXT: Final = ("mysql", "postgresql", "sqlite")
"""Databases whose drivers give a text column as ``str``, which Django then need not convert."""


class CookieMiddleware(ConnectMiddleware):
    """``scope["cookies"]``: the client's cookies by name."""

    async def prepare(self, scope: Scope) -> None:
        if "headers" not in scope:
            raise ValueError(f"A {scope['type']!r} scope has no headers, and so no cookies.")
        scope["cookies"] = cookies_of(scope)

    @classmethod
    def set_cookie(
        cls,
        message: Event,
        key: str,
        value: str = "",
        max_age: int | timedelta | None = None,
        expires: str | datetime | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["Lax", "Strict", "None", False] | None = "Lax",
    ) -> None:
        """Add a cookie to ``message``: an ``http.response.start`` or a ``websocket.accept``.

        ``max_age`` is in seconds; ``expires`` is a date of HTTP or a ``datetime``, in UTC if it is naive. The rules
        are those of Django's ``HttpResponse.set_cookie``: a ``datetime`` and ``max_age`` together are a ``ValueError``.
        """
        response = HttpResponse()
        response.set_cookie(key, value, max_age, expires, path, domain, secure, httponly, samesite)
        _add_cookies(message, response)

    @classmethod
    def delete_cookie(
        cls,
        message: Event,
        key: str,
        path: str = "/",
        domain: str | None = None,
        samesite: Literal["Lax", "Strict", "None"] | None = None,
    ) -> None:
        """Have the client forget a cookie; ``path`` and ``domain`` must be what it was set with."""
        response = HttpResponse()
        response.delete_cookie(key, path, domain, samesite)
        _add_cookies(message, response)


class SessionMiddleware(ConnectMiddleware):
    """``scope["session"]``: Django's session of the client's cookie; an empty one without it.

    It reads nothing from the database by itself: await ``session.aget(...)``, or use it in a ``def`` handler. A
    session that was changed is saved: over HTTP before the response begins, with its cookie, by the rules of
    Django's own middleware; over a WebSocket at the end of the handshake and at the end of the connection, and only
    the keys that were changed, since other requests change the session meanwhile. A WebSocket sets no cookie, so a
    session that came without one is not kept. ``await session.asave()`` saves at any moment.
    """

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        """What ``__call__`` does, without staying on the stack of a WebSocket."""
        if scope["type"] != "http" or "session" in scope:
            return super().raceway_begin(scope, receive, send, prepares)
        response = SessionResponse(send)
        return begin(
            self.inner, scope, receive, response.send, (*prepares, partial(self._prepare_http, response))
        )

    async def prepare(self, scope: Scope) -> None:
        if "session" in scope:
            return
        if "cookies" not in scope:
            raise ValueError("No cookies in the scope: SessionMiddleware goes inside CookieMiddleware.")
        session = session_store()(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
        scope["session"] = session
        if scope["type"] == "websocket" and session.session_key is not None:
            scope["raceway.save"] = SessionSaver(session)

    async def _prepare_http(self, response: SessionResponse, scope: Scope) -> None:
        if "session" not in scope:  # the outermost one saves it
            await self.prepare(scope)
            response.request = HttpRequest()
            response.request.session = scope["session"]
            response.request.COOKIES = scope["cookies"]


def SessionMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:
    """Cookies and session around ``inner``."""
    return CookieMiddleware(SessionMiddleware(inner))


class SessionResponse:
    """Save the session when the response begins; what to save and to set is for Django's own middleware to say."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.request: HttpRequest | None = None
        """The request with its session and cookies; ``None``: the session is another's to save."""

    async def send(self, event: Event) -> None:
        if event["type"] == "http.response.start" and self.request is not None:
            await self._save(self.request, event)
        await self._send(event)

    async def _save(self, request: HttpRequest, start: Event) -> None:
        """Raises ``SessionInterrupted`` if the session was deleted meanwhile."""
        response = HttpResponse(status=start["status"])
        finish = DjangoSessionMiddleware(lambda _: response).process_response
        if request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST:
            await sync_to_async(finish)(request, response)
        else:
            finish(request, response)
        _add_cookies(start, response)
        if response.cookies or response.has_header("vary"):
            _vary_on_cookie(start)


class SessionSaver:
    """Save a WebSocket's session if it was changed; awaited by the consumer's runtime."""

    __slots__ = ("_session", "_stored")

    def __init__(self, session: SessionBase) -> None:
        self._session = session
        self._stored: bytes | None = None
        """What was in it at the end of the handshake."""

    async def __call__(self) -> None:
        session = self._session
        if session.session_key is None:
            return
        if session.modified:
            await sync_to_async(self._save)()
        if self._stored is None and session.accessed:
            self._stored = session.serializer().dumps(dict(session.items()))

    def _save(self) -> None:
        session = self._session
        try:
            if self._stored is None:
                session.save()
            else:
                self._save_changes(session.serializer().loads(self._stored))
        except UpdateError:
            pass  # it has ended meanwhile: it is not to come back
        else:
            session.modified = False

    def _save_changes(self, stored: dict[str, Any]) -> None:
        ours = dict(self._session.items())
        newest = type(self._session)(self._session.session_key)
        for key in stored.keys() - ours.keys():
            newest.pop(key, None)
        newest.update(
            {key: value for key, value in ours.items() if key not in stored or stored[key] != value}
        )
        if newest.session_key is not None:  # it has been read by now, and is still there
            newest.save()


def read_session(session: SessionBase) -> None:
    """Read a session from Django's own database store with a query that is composed once: that takes four fifths of
    the time. A session that is not there, or in another store, is left to the store to read.
    """
    if type(session) is not DatabaseStore or session.session_key is None or session.accessed:
        return
    alias = router.db_for_read(session.model)
    connection = connections[alias]
    if connection.vendor not in PLAIN_TEXT:
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(_session_query(alias), [session.session_key, now])
        row = cursor.fetchone()
    if row is not None:
        session._session_cache = session.decode(row[0])  # type: ignore[attr-defined]  # what Django's load() fills


@cache
def _session_query(alias: str) -> str:
    """The query of ``django.contrib.sessions.backends.db``, with places for the key and the time."""
    model: Any = DatabaseStore.get_model_class()
    wanted = model.objects.using(alias).filter(session_key="key").filter(expire_date__gt=timezone.now())
    sql: str = wanted.values_list("session_data").query.get_compiler(alias).as_sql()[0]
    return sql


def cookies_of(scope: Scope) -> dict[str, str]:
    """The cookies of all ``cookie`` headers: HTTP/2 may split them (RFC 9113 section 8.2.3)."""
    values = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"cookie"]
    return parse_cookie("; ".join(values)) if values else {}


@cache
def session_store() -> type[Any]:
    """The class that ``SESSION_ENGINE`` names."""
    store: type[Any] = import_module(settings.SESSION_ENGINE).SessionStore
    return store


on_change("SESSION_ENGINE", session_store.cache_clear)


def _add_cookies(message: Event, response: HttpResponse) -> None:
    for cookie in response.cookies.values():
        _add_header(message, b"set-cookie", cookie.OutputString().encode("ascii"))


def _add_header(message: Event, name: bytes, value: bytes) -> None:
    message["headers"] = [*message.get("headers", ()), (name, value)]


def _vary_on_cookie(start: Event) -> None:
    """A response that depends on the session is not to be kept for others (RFC 9110 section 12.5.5)."""
    given = b",".join(value for name, value in start.get("headers", ()) if name.lower() == b"vary")
    if not {b"cookie", b"*"} & {one.strip().lower() for one in given.split(b",")}:
        _add_header(start, b"vary", b"Cookie")
