"""Who is at the other end of a connection: found once, at the handshake."""

from raceway.auth.logout import close_sockets_of_session
from raceway.auth.middleware import AuthMiddleware, AuthMiddlewareStack
from raceway.auth.session import get_user, login, logout

__all__ = [
    "AuthMiddleware",
    "AuthMiddlewareStack",
    "close_sockets_of_session",
    "get_user",
    "login",
    "logout",
]
