"""The lifespan of one application in one event loop (ASGI lifespan 2.0)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from raceway.errors import ConfigurationError, InvalidMessage
from raceway.types import ASGIApplication, Event, Scope

logger = logging.getLogger("raceway.server")


class Lifespan:
    """Run the application's start-up and shutdown. ``state`` is what it left for the scopes of its connections.

    An application that raises before it answers does not support the lifespan protocol; that is not an error.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._events: asyncio.Queue[Event] = asyncio.Queue(maxsize=2)
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supported = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the application is ready. Raises ``ConfigurationError`` if it says that it is not."""
        await self._events.put({"type": "lifespan.startup"})
        self._task = asyncio.get_running_loop().create_task(self._run(), name="raceway-lifespan")
        await self._started

    def abandon(self) -> None:
        """The start is given up."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self, timeout_s: float) -> None:
        """Tell the application that it is over and wait for its answer, ``timeout_s`` seconds at most."""
        if self._task is None:
            return
        if self._supported and not self._task.done():
            await self._events.put({"type": "lifespan.shutdown"})
            await asyncio.wait([self._stopped, self._task], timeout=timeout_s, return_when="FIRST_COMPLETED")
            if not self._stopped.done() and not self._task.done():
                logger.error("The application did not finish its lifespan shutdown in %g s.", timeout_s)
        self._task.cancel()
        await asyncio.wait([self._task], timeout=1.0)

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._application(scope, self._events.get, self._send)
        except Exception as error:
            if self._supported:
                logger.exception("The application raised in its lifespan.")
            elif not self._started.done():
                logger.debug("The application does not take part in the lifespan protocol (%r).", error)
        finally:
            if not self._started.done():
                self._started.set_result(None)

    async def _send(self, message: Event) -> None:
        kind = message.get("type")
        if kind == "lifespan.startup.complete" and not self._started.done():
            self._supported = True
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self._started.done():
            reason = message.get("message") or "it gave no reason"
            self._started.set_exception(ConfigurationError(f"The application failed to start: {reason}"))
        elif kind == "lifespan.shutdown.complete" and self._supported and not self._stopped.done():
            self._stopped.set_result(None)
        elif kind == "lifespan.shutdown.failed" and self._supported and not self._stopped.done():
            logger.error(
                "The application failed to shut down: %s", message.get("message") or "no reason given"
            )
            self._stopped.set_result(None)
        else:
            raise InvalidMessage(
                f"{kind!r} is not allowed here; expected lifespan.startup.complete or .failed after "
                "lifespan.startup, then lifespan.shutdown.complete or .failed after lifespan.shutdown."
            )
