"""What all connections of one server share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Protocol

from raceway.prepared import Form, PreparedMessage
from raceway.server.access import AccessLog
from raceway.server.config import Config
from raceway.server.deadlines import SLOT_S, Deadlines
from raceway.server.flusher import Flusher
from raceway.server.proxy import TrustedProxies
from raceway.types import ASGIApplication
from raceway.wire.websocket import encode_data

if TYPE_CHECKING:
    from raceway.server.connection import Connection

logger = logging.getLogger("raceway.server")


class Running(Protocol):
    """A call of the application, and the task that it runs in."""

    task: asyncio.Task[None]


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
        # Raceway's own applications offer a way in that stays on no stack: each frame on it is resumed per message.
        hands_on = getattr(type(application), "raceway_hands_on", False)
        self.application: ASGIApplication = getattr(application, "raceway_begin") if hands_on else application  # noqa: B009
        self.config = config
        self.limits = config.limits
        self.loop = loop
        self.state: dict[str, Any] = {}
        self.max_connections = max_connections
        self.connections: set[Connection] = set()
        self.refused: set[Connection] = set()  # those of them that are above a limit and are told so
        self.per_address: Counter[str] = Counter()
        self.running: set[Running] = set()
        self.compressing: dict[tuple[int, Form], asyncio.Task[None]] = {}
        self.counters: Counter[str] = Counter()
        self.flusher = Flusher(loop.call_soon)
        self.deadlines = Deadlines(loop.time())
        self.access: AccessLog | None = None
        if config.access_log:
            self.access = config.access_log if isinstance(config.access_log, AccessLog) else AccessLog()
        self.proxies = TrustedProxies(config.forwarded_allow_ips)
        self.draining = False
        self.default_headers: dict[bytes, bytes] = {}
        self.now = loop.time()  # of the last tick; fine enough for a deadline, and free
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
        self.now = self.loop.time()
        self.deadlines.tick(self.now, self._report)

    def stop_ticking(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        if self.access is not None:
            self.access.flush()

    def compress(self, message: PreparedMessage, form: Form) -> asyncio.Future[None]:
        """Have one form of a large message made in a thread, once; the future is done when the message has it."""
        task = self.compressing.get((id(message), form))
        if task is None:
            task = self.loop.create_task(self._compress(message, form), name="raceway-compress")
            self.compressing[id(message), form] = task
        return task

    async def _compress(self, message: PreparedMessage, form: Form) -> None:
        try:
            frame = await self.loop.run_in_executor(None, encode_data, message.payload, message.is_text, form)
            message.forms.setdefault(form, frame)
        finally:
            del self.compressing[id(message), form]

    def release_address(self, address: str) -> None:
        """A connection that was counted for ``address`` is gone."""
        self.per_address[address] -= 1
        if not self.per_address[address]:
            del self.per_address[address]

    def _report(self, error: Exception) -> None:
        logger.error("A deadline's callback raised.", exc_info=error)
