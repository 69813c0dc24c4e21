"""The way from any thread into an event loop's own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger("raceway.layers")

WAITING_CALLS: Final = 10_000
"""Calls that may wait for one loop; a thread that makes more waits itself."""

WAIT_S: Final = 1.0
"""How long a thread waits for a loop that takes none of its calls, before the call is dropped."""


class Handover:
    """Run calls from other threads in the loop's thread, in the order in which they were made.

    A burst wakes the loop once. Calls that a stuck or closed loop does not take are dropped, and logged once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        waiting_calls: int = WAITING_CALLS,
        wait_s: float = WAIT_S,
    ) -> None:
        self._loop = loop
        self._waiting_calls = waiting_calls
        self._wait_s = wait_s
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._room = threading.Condition()
        self._has_dropped = False

    def __call__(self, function: Callable[..., object], *args: Any) -> bool:
        """Have ``function(*args)`` run in the loop; ``False`` if it will not be."""
        with self._room:
            if not self._room.wait_for(self._may_add, self._wait_s):
                return self._drop("is stuck", 1)
            self._calls.append((function, args))
            if len(self._calls) > 1 and not self._loop.is_closed():
                return True
            try:
                self._loop.call_soon_threadsafe(self._run)
            except RuntimeError:  # the loop has been closed, maybe before it ran what waits
                lost = len(self._calls)
                self._calls.clear()
                self._room.notify_all()
                return self._drop("is closed", lost)
            return True

    def _may_add(self) -> bool:
        return len(self._calls) < self._waiting_calls or self._loop.is_closed()

    def _drop(self, why: str, calls: int) -> bool:
        if not self._has_dropped:
            self._has_dropped = True
            logger.warning("Messages from other threads are dropped (%d now): the event loop %s.", calls, why)
        return False

    def _run(self) -> None:
        with self._room:
            calls, self._calls = self._calls, deque()
            self._room.notify_all()
        for function, args in calls:
            try:
                function(*args)
            except Exception:
                logger.exception("A message from another thread could not be handed over.")


_handovers: dict[asyncio.AbstractEventLoop, Handover] = {}
_lock = threading.Lock()


def handover_of(loop: asyncio.AbstractEventLoop) -> Handover:
    """The one hand-over of ``loop``, so that what one thread does stays in order."""
    handover = _handovers.get(loop)
    if handover is not None:
        return handover
    with _lock:
        for old in [old for old in _handovers if old.is_closed()]:
            del _handovers[old]
        return _handovers.setdefault(loop, Handover(loop))
