"""What ``runserver`` adds to a server: static files around the application, and a coloured line for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable

from raceway.asgi import STATIC_FILES_DECIDED
from raceway.routing.begin import begin
from raceway.server.access import AccessLog, target_of
from raceway.types import ASGIApplication, Prepare, Receive, Scope, Send
from raceway.wire.events import Request

logger = logging.getLogger("django.server")


class DevelopmentApplication:
    """Serve HTTP by ``http``, everything else by ``application``.

    Whether there are static files is for ``http`` alone to say: ``application`` is told to serve none by itself.
    """

    def __init__(self, application: ASGIApplication, http: ASGIApplication) -> None:
        self.application = application
        self.http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.raceway_begin(scope, receive, send)

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepare: Prepare | None = None
    ) -> Awaitable[None]:
        """What ``__call__`` does, without staying on the stack."""
        if scope["type"] == "http":
            return begin(self.http, {**scope, STATIC_FILES_DECIDED: True}, receive, send, prepare)
        return begin(self.application, scope, receive, send, prepare)


class DevelopmentLog(AccessLog):
    """Log each request as Django's ``runserver`` does, which colours the line by its status; a WebSocket's handshake
    too, with 101 if it was accepted."""

    def add(
        self,
        client: tuple[str, int] | None,
        request: Request | None,
        status: int,
        size_bytes: int,
        seconds: float,
    ) -> None:
        if request is None:
            line = "-"
        elif request.upgrade == "websocket":
            line = f"WebSocket {target_of(request)}"
        else:
            line = f"{request.method} {target_of(request)} HTTP/{request.http_version}"
        logger.log(
            logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR,
            '"%s" %d %d',
            line,
            status,
            size_bytes,
            extra={"status_code": status, "server_time": time.strftime("%d/%b/%Y %H:%M:%S")},
        )
