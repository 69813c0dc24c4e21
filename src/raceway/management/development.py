"""What ``runserver`` puts around the project's application: static files, and a line for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable

from raceway.asgi import STATIC_FILES_DECIDED
from raceway.routing.begin import begin
from raceway.types import ASGIApplication, Event, Prepare, Receive, Scope, Send

logger = logging.getLogger("django.server")


class DevelopmentApplication:
    """Serve HTTP by ``http``, everything else by ``application``, and log both as Django's ``runserver`` does.

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
        """What ``__call__`` does, without staying on the stack of a WebSocket."""
        if scope["type"] == "http":
            return self._serve_http(scope, receive, send)
        if scope["type"] == "websocket":
            logger.info('"WebSocket %s"', _target(scope), extra={"server_time": _now()})
        return begin(self.application, scope, receive, send, prepare)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = {**scope, STATIC_FILES_DECIDED: True}
        status, size_bytes = 500, 0

        async def watch(event: Event) -> None:
            nonlocal status, size_bytes
            if event["type"] == "http.response.start":
                status = event["status"]
            size_bytes += len(event.get("body", b""))
            await send(event)

        try:
            await self.http(scope, receive, watch)
        finally:
            logger.log(
                logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR,
                '"%s %s HTTP/%s" %d %d',
                scope["method"],
                _target(scope),
                scope["http_version"],
                status,
                size_bytes,
                extra={"status_code": status, "server_time": _now()},
            )


def _now() -> str:
    return time.strftime("%d/%b/%Y %H:%M:%S")


def _target(scope: Scope) -> str:
    path: str = scope.get("raw_path", b"").decode("ascii", "backslashreplace") or scope["path"]
    query = scope.get("query_string", b"").decode("ascii", "backslashreplace")
    return f"{path}?{query}" if query else path
