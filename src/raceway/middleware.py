"""Middleware that sees every message."""

from __future__ import annotations

from raceway.types import ASGIApplication, Receive, Scope, Send


class BaseMiddleware:
    """Wrap ``receive`` or ``send``, or change the scope: subclass it, and end with ``super().__call__``.

    It stays on the stack of each connection, and a wrapped ``send`` leaves the fast lane: each message costs more.
    Where the handshake is all you need, subclass ``raceway.routing.ConnectMiddleware``, which costs nothing later.
    """

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call ``inner`` with a copy of the scope."""
        await self.inner(dict(scope), receive, send)
