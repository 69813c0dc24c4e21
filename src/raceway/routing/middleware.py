"""Middleware that works at the handshake, and then is gone."""

from __future__ import annotations

from collections.abc import Awaitable

from raceway.routing.begin import begin
from raceway.types import ASGIApplication, Prepare, RacewayApplication, Receive, Scope, Send


class ConnectMiddleware(RacewayApplication):
    """Change the scope of a connection, or deny it, before ``inner`` is called; subclass and write ``prepare``.

    It never sees a message, so it costs none anything; to see them, subclass ``raceway.middleware.BaseMiddleware``.
    """

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    async def prepare(self, scope: Scope) -> None:
        """Add to ``scope``, which is a copy. Raise ``DenyConnection`` to refuse the connection."""
        raise NotImplementedError

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        return begin(self.inner, scope, receive, send, (*prepares, self.prepare))
