"""The user of the session, put into the scope."""

from __future__ import annotations

from raceway.auth.membership import sign_in
from raceway.auth.session import get_user
from raceway.routing import ConnectMiddleware
from raceway.sessions import CookieMiddleware, SessionMiddlewareStack
from raceway.types import ASGIApplication, Scope


class AuthMiddleware(ConnectMiddleware):
    """``scope["user"]``: who the session belongs to, or ``AnonymousUser``.

    A socket of a signed-in user is a member of ``raceway.User(user)``, and is closed with 4401 when its session
    logs out.
    """

    async def prepare(self, scope: Scope) -> None:
        if "user" in scope:
            return
        user = await get_user(scope)
        if user.is_authenticated:
            sign_in(scope, user, scope["session"].session_key)
        else:
            scope["user"] = user


def AuthMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:
    """Cookies, session and user around ``inner``."""
    return SessionMiddlewareStack(AuthMiddleware(inner))
