"""The user of the session, put into the scope."""

from __future__ import annotations

from raceway.auth.session import get_user
from raceway.layers.user import session_group_name, user_group_name
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
        user = scope["user"] = await get_user(scope)
        if user.is_authenticated:
            join_at_opening(scope, user_group_name(user.pk))
            if key := scope["session"].session_key:
                join_at_opening(scope, session_group_name(key))


def AuthMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:
    """Cookies, session and user around ``inner``."""
    return SessionMiddlewareStack(AuthMiddleware(inner))


def join_at_opening(scope: Scope, group: str) -> None:
    """Have the connection be in ``group`` from its opening to its end."""
    scope["raceway.groups"] = [*scope.get("raceway.groups", ()), group]
