"""Who is at the other end of a connection: found once, at the handshake."""

from raceway.auth.bearer import TokenAuthMiddleware
from raceway.auth.logout import close_sockets_of_session
from raceway.auth.middleware import AuthMiddleware, AuthMiddlewareStack, LoginRequiredMiddleware
from raceway.auth.session import get_user, login, logout
from raceway.auth.tokens import make_ticket, make_token, verify_token

__all__ = [
    "AuthMiddleware",
    "AuthMiddlewareStack",
    "LoginRequiredMiddleware",
    "TokenAuthMiddleware",
    "close_sockets_of_session",
    "get_user",
    "login",
    "logout",
    "make_ticket",
    "make_token",
    "verify_token",
]
