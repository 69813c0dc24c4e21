"""The user of the session, put into the scope; and who gets no further without one."""

from __future__ import annotations

from raceway.auth.membership import sign_in
from raceway.auth.session import get_user
from raceway.errors import ConfigurationError, DenyConnection
from raceway.layers.user import session_group_name
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
            key = scope["session"].session_key
            sign_in(scope, user, session_group_name(key) if key else None)
        else:
            scope["user"] = user


def AuthMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:
    """Cookies, session and user around ``inner``."""
    return SessionMiddlewareStack(AuthMiddleware(inner))


class LoginRequiredMiddleware(ConnectMiddleware):
    """Refuse with 403 whoever is not signed in; goes inside what finds the user."""

    async def prepare(self, scope: Scope) -> None:
        if "user" not in scope:
            raise ConfigurationError(
                "No user in the scope: LoginRequiredMiddleware goes inside AuthMiddlewareStack or TokenAuthMiddleware."
            )
        if not scope["user"].is_authenticated:
            raise DenyConnection("Nobody is signed in.")
