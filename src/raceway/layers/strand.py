"""Calls of other people's coroutine functions from everywhere, in order."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextvars import Context
from typing import Any, Final, TypeAlias

from raceway.errors import LayerUnavailable
from raceway.layers.handover import handover_of

logger = logging.getLogger("raceway.layers")

Call: TypeAlias = Callable[[], Awaitable[object]]

Start: TypeAlias = "Callable[[Strand], asyncio.Future[None] | None]"
"""Adds a call to a strand, in the strand's thread; ``None`` if it turns out that there is nothing to do."""

STRAND_CALLS: Final = 10_000
"""Calls that may wait for the one under way; more are refused."""


class Strand:
    """Make calls in one event loop, one after another, in the order in which they were asked for.

    Its task lives only while calls wait. All methods belong to the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.listeners = 0
        """How many wait in this loop for what the calls bring about."""
        self.renewal: asyncio.TimerHandle | None = None
        """When memberships are renewed next."""
        self._waiting: deque[tuple[Call, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, call: Call, *, must: bool = False) -> asyncio.Future[None]:
        """Have ``call()`` awaited in its turn. Raises ``LayerUnavailable`` if too many wait, unless it ``must``."""
        if len(self._waiting) >= STRAND_CALLS and not must:
            raise LayerUnavailable(
                f"{len(self._waiting)} calls wait for the channel layer already: it is too slow, or does not answer."
            )
        future: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append((call, future))
        if self._task is None:
            # Not in the caller's context: what a call keeps must not end with one connection.
            self._task = self.loop.create_task(self._work(), context=Context())
        return future

    def hand(self, start: Start) -> Future[None]:
        """Have ``start(strand)`` called in the loop's thread, from any other."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # it cannot be cancelled: it is on its way

        def begin() -> None:
            try:
                future = start(self)
            except LayerUnavailable as error:
                done.set_exception(error)
            else:
                if future is None:
                    done.set_result(None)
                else:
                    future.add_done_callback(tell)

        def tell(future: asyncio.Future[None]) -> None:
            if future.cancelled():
                done.set_exception(LayerUnavailable("The event loop of the channel layer has ended."))
            elif error := future.exception():
                done.set_exception(error)
            else:
                done.set_result(None)

        if not handover_of(self.loop)(begin):
            done.set_exception(LayerUnavailable("The event loop of the channel layer takes no calls."))
        return done

    async def _work(self) -> None:
        try:
            while self._waiting:
                call, future = self._waiting.popleft()
                try:
                    await call()
                except Exception as error:
                    if not future.done():
                        future.set_exception(error)
                except BaseException:
                    future.cancel()
                    raise
                else:
                    if not future.done():
                        future.set_result(None)
        finally:
            self._task = None
            if self._waiting:
                logger.warning(
                    "%d calls of the channel layer were lost: the event loop ended.", len(self._waiting)
                )
            while self._waiting:
                self._waiting.popleft()[1].cancel()


class Outcome:
    """What becomes of a call: awaiting it waits and raises; of a failure that nobody awaits the log tells."""

    __slots__ = ("_future", "_is_awaited", "_what")

    def __init__(self, future: asyncio.Future[Any], what: str) -> None:
        self._future = future
        self._what = what
        self._is_awaited = False
        future.add_done_callback(self._report)

    def __await__(self) -> Generator[Any, None, None]:
        self._is_awaited = True
        return self._future.__await__()

    def _report(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()) and not self._is_awaited:
            logger.error("%s failed.", self._what, exc_info=error)


# A loop for threads of processes that have none

_background: tuple[int, asyncio.AbstractEventLoop] | None = None
_lock = threading.Lock()


def background_loop() -> asyncio.AbstractEventLoop:
    """A loop that runs in a thread of its own until the process ends; made on first use, and anew after a fork."""
    global _background
    with _lock:
        if _background is None or _background[0] != os.getpid():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="raceway-layers", daemon=True)
            thread.start()
            atexit.register(_end, loop, thread)
            _background = os.getpid(), loop
        return _background[1]


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if thread.is_alive():
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
