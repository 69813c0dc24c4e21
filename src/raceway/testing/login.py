"""Connecting as somebody."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import BaseCookie
from typing import Any

from django.apps import apps
from django.conf import settings
from django.test import Client

from raceway.auth import AuthMiddleware, membership
from raceway.layers.user import session_group_name
from raceway.sessions import SessionMiddleware, session_store
from raceway.testing.targets import applications_in
from raceway.types import Scope


def sign_in(
    scope: Scope, application: Any, user: Any, session: Mapping[str, Any] | None, cookies: Any
) -> None:
    """Give ``scope`` the cookies of a browser in which ``user`` has logged in and ``session`` is kept.

    The application's own middleware finds them there. Where it has none that can be seen, ``scope["user"]`` and
    ``scope["session"]`` are set as it would have done. Uses the database: not for an event loop's thread.
    """
    given = dict(cookies_in(cookies))
    if user is not None or session is not None:
        store = _store(user, session)
        if store is not None:
            given[settings.SESSION_COOKIE_NAME] = store.session_key
            if not _has(application, SessionMiddleware):
                scope["session"] = store
        if user is not None and (store is None or not _has(application, AuthMiddleware)):
            if user.is_authenticated and user.pk is not None:
                group = None if store is None else session_group_name(store.session_key)
                membership.sign_in(scope, user, group)
            else:
                scope["user"] = user
    if given:
        value = "; ".join(f"{name}={value}" for name, value in given.items())
        scope["headers"].append((b"cookie", value.encode("latin-1")))


def cookies_in(cookies: Any) -> Mapping[str, str]:
    """Names and values of a dictionary, or of what ``django.test.Client().cookies`` is."""
    if isinstance(cookies, BaseCookie):
        return {name: morsel.coded_value for name, morsel in cookies.items() if morsel.value}
    return cookies or {}


def _store(user: Any, session: Mapping[str, Any] | None) -> Any:
    """A saved session; ``None`` if the project has none, or nobody to keep one for."""
    if not apps.is_installed("django.contrib.sessions"):
        if session is not None:
            raise AssertionError("session= needs 'django.contrib.sessions' in INSTALLED_APPS.")
        return None
    can_log_in = (
        user is not None
        and user.is_authenticated
        and user.pk is not None
        and apps.is_installed("django.contrib.auth")
    )
    if not can_log_in and session is None:
        return None
    client = Client()
    if can_log_in:
        client.force_login(user)
    key = client.cookies[settings.SESSION_COOKIE_NAME].value if can_log_in else None
    store = session_store()(key)
    store.update(session or {})
    store.save()
    return store


def _has(application: Any, middleware: type) -> bool:
    return any(isinstance(one, middleware) for one in applications_in(application))
