"""A worker in the process of a server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

from raceway.errors import ConfigurationError
from raceway.layers.configured import DEFAULT_CHANNEL_LAYER, channel_layers
from raceway.routing.begin import begin
from raceway.routing.channels import channel_names
from raceway.types import ASGIApplication, Event, Prepare, RacewayApplication, Receive, Scope, Send
from raceway.workers.worker import Worker

logger = logging.getLogger("raceway.workers")

DRAIN_S: Final = 8.0
"""Servers give the end of a lifespan some ten seconds."""


class WithWorker(RacewayApplication):
    """``application``, and a worker for its named channels in each process that serves it.

    The worker starts with the application (ASGI lifespan), and stops before it, within ``drain_s`` seconds. It is for
    the channels that the application says it serves, on the layer ``alias``.
    """

    def __init__(
        self,
        application: ASGIApplication,
        *,
        alias: str = DEFAULT_CHANNEL_LAYER,
        drain_s: float = DRAIN_S,
    ) -> None:
        self.application = application
        self._alias = alias
        self._drain_s = drain_s
        self._worker: Worker | None = None

    def raceway_begin(
        self, scope: Scope, receive: Receive, send: Send, prepares: tuple[Prepare, ...] = ()
    ) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        return begin(self.application, scope, receive, send, prepares)

    async def stop(self) -> None:
        """Stop the worker, if it runs; in its loop."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop(self._drain_s)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_first() -> Event:
            event = await receive()
            if event["type"] == "lifespan.shutdown":
                await self.stop()
            return event

        async def send_first(event: Event) -> None:
            if event["type"] == "lifespan.startup.complete":
                try:
                    self._start()
                except ConfigurationError as error:
                    event = {"type": "lifespan.startup.failed", "message": str(error)}
            await send(event)

        try:
            await begin(self.application, scope, receive_first, send_first)
        finally:
            await self.stop()

    def _start(self) -> None:
        names = channel_names(self.application)
        if not names:
            return
        self._worker = Worker(self.application, names, channel_layers[self._alias])
        self._worker.start()
        logger.info("Serving the channels %s in this process.", ", ".join(sorted(names)))
