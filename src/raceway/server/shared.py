"""What all connections of one server share."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from raceway.server.access import AccessLog
from raceway.server.config import Config
from raceway.server.deadlines import SLOT_S, Deadlines
from raceway.server.flusher import Flusher
from raceway.server.proxy import TrustedProxies
from raceway.types import ASGIApplication

if TYPE_CHECKING:
    from raceway.server.connection import Connection

logger = logging.getLogger("raceway.server")


class Shared:
    """The application, the settings, the clock, the counters, and everyone who is connected.

    ``tick`` runs ten times a second: deadlines, the Date header (RFC 9110 section 6.6.1) and the access log.
    """

    def __init__(
        self,
        application: ASGIApplication,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        max_connections: int,
    ) -> None:
        self.application = application
        self.config = config
        self.limits = config.limits
        self.loop = loop
        self.state: dict[str, Any] = {}
        self.max_connections = max_connections
        self.connections: set[Connection] = set()
        self.refused: set[Connection] = set()  # those of them that are above a limit and are told so
        self.per_address: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()
        self.flusher = Flusher(loop.call_soon)
        self.deadlines = Deadlines(loop.time())
        self.access = AccessLog() if config.access_log else None
        self.proxies = TrustedProxies(config.forwarded_allow_ips)
        self.draining = False
        self.default_headers: dict[bytes, bytes] = {}
        self._stamped_s = 0
        self._ticker: asyncio.TimerHandle | None = None

    def start_ticking(self) -> None:
        self._ticker = self.loop.call_later(SLOT_S, self.start_ticking)
        now_unix_s = time.time()
        if int(now_unix_s) != self._stamped_s:
            self._stamped_s = int(now_unix_s)
            self.default_headers = {
                b"date": b"date: %s\r\n" % formatdate(now_unix_s, usegmt=True).encode(),
                b"server": b"server: raceway\r\n",
            }
        if self.access is not None:
            self.access.tick(now_unix_s)
        self.deadlines.tick(self.loop.time(), self._report)

    def stop_ticking(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        if self.access is not None:
            self.access.flush()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``coroutine`` in a task that the server owns until it is done."""
        task = start_task(self.loop, coroutine, name)
        if not task.done():
            self.tasks.add(task)
        return task

    def release_address(self, address: str) -> None:
        """A connection that was counted for ``address`` is gone."""
        self.per_address[address] -= 1
        if not self.per_address[address]:
            del self.per_address[address]

    def _report(self, error: Exception) -> None:
        logger.error("A deadline's callback raised.", exc_info=error)


if sys.version_info >= (3, 12):

    def start_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        """Begin at once, in this pass of the loop; most requests need no second one."""
        return asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)

else:

    def start_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        return asyncio.Task(coroutine, loop=loop, name=name)
