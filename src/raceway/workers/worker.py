"""The runtime of a worker, which needs no process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from raceway.clock import monotonic
from raceway.layers.front import ChannelLayer
from raceway.signals import worker_ready
from raceway.threads import Pool, lending
from raceway.types import ASGIApplication
from raceway.workers.outage import Outage
from raceway.workers.slot import Slot

logger = logging.getLogger("raceway.workers")

CUT_S: Final = 1.0
"""After the drain time: for handlers that are cancelled to end."""


class Worker:
    """Take messages of named channels from a layer, and have an application handle them, in the running event loop.

    ``concurrency`` messages of each channel are handled at once, each by an application of its own (scope type
    ``channel``); a message is taken when one of those is free, so no more than that are in this process's hands.
    ``threads`` is how many ``def`` handlers run at once; without it they share the threads of all consumers
    (``RACEWAY["SYNC_THREADS"]``). As long as the layer cannot be reached the worker tries again. It is started once.
    """

    def __init__(
        self,
        application: ASGIApplication,
        channels: Iterable[str],
        layer: ChannelLayer,
        *,
        concurrency: int = 1,
        threads: int | None = None,
    ) -> None:
        self.channels = sorted(set(channels))
        self.handled_count = 0
        """Messages whose handling has ended, also with an error."""
        self._layer = layer
        self._slots = [
            Slot(application, channel, layer, self) for channel in self.channels for _ in range(concurrency)
        ]
        self._pool = None if threads is None else Pool(threads, "raceway-worker")
        self._tasks: list[asyncio.Task[None]] = []
        self._outage = Outage()
        self._idle: asyncio.Future[None] | None = None

    @property
    def in_hand(self) -> Counter[str]:
        """By channel, how many messages are being handled now."""
        return Counter(slot.channel for slot in self._slots if slot.has_message)

    @property
    def waits(self) -> bool:
        """Nothing is being handled, or about to be: there is no message."""
        return all(slot.waits for slot in self._slots)

    def start(self) -> None:
        """Begin to take messages; in the loop's thread."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._run(slot), name=f"raceway-worker-{slot.channel}") for slot in self._slots
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        worker_ready.send_robust(self)

    async def stop(self, drain_s: float = 30.0) -> int:
        """Take nothing more and wait for what is in hand, ``drain_s`` seconds at most; then cancel it.

        Returns how many messages were cut off. ``hurry`` ends the wait.
        """
        self._idle = asyncio.get_running_loop().create_future()
        for slot in self._slots:
            slot.drain()
        self.drained()
        try:
            await asyncio.wait([self._idle], timeout=drain_s)
        finally:
            cut = self.in_hand
            for task in self._tasks:
                task.cancel()
            if self._pool is not None:
                self._pool.shutdown(wait=False)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CUT_S)
        for channel, count in sorted(cut.items()):
            logger.error("%d messages of the channel %r were cut off within their handlers.", count, channel)
        return cut.total()

    def hurry(self) -> None:
        """End the wait of a ``stop`` that is under way; in the loop's thread."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _run(self, slot: Slot) -> None:
        pool = self._pool
        if pool is not None:
            lending.set(lambda: pool)
        await slot.run()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._idle is None:
            logger.error(
                "%s was ended, and not by this worker: it serves its channel no more.", task.get_name()
            )

    # What slots tell

    def received(self) -> None:
        if self._outage.succeeded():
            logger.warning("The channel layer can be reached again.")

    def unreachable(self, error: BaseException) -> None:
        if self._outage.failed(monotonic()):
            logger.warning("Messages cannot be received; it is tried again: %s", error or repr(error))

    def failed(self, channel: str, error: BaseException) -> None:
        logger.error(
            "The application of the channel %r has ended with an error, and begins anew.",
            channel,
            exc_info=error,
        )

    def handled(self) -> None:
        self.handled_count += 1
        self.drained()

    def drained(self) -> None:
        if self._idle is not None and all(slot.is_idle for slot in self._slots):
            self.hurry()
