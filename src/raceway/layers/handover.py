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

    A burst wakes the loop once. ``dropped`` counts calls that a stuck or closed loop did not take.
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
        self.dropped = 0

    def __call__(self, function: Callable[..., object], *args: Any) -> bool:
        """Have ``function(*args)`` run in the loop; ``False`` if it will not be."""
        with self._room:
            if not self._room.wait_for(self._has_room, self._wait_s):
                return self._drop("is stuck")
            self._calls.append((function, args))
            if len(self._calls) > 1:
                return True
            try:
                self._loop.call_soon_threadsafe(self._run)
            except RuntimeError:  # the loop has been closed
                self._calls.clear()
                return self._drop("is closed")
            return True

    def _has_room(self) -> bool:
        return len(self._calls) < self._waiting_calls

    def _drop(self, why: str) -> bool:
        if not self.dropped:
            logger.warning("A message from another thread was dropped: the event loop %s.", why)
        self.dropped += 1
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


def handover_of(loop: asyncio.AbstractEventLoop) -> Handover:
    """The one hand-over of ``loop``, so that what one thread does stays in order."""
    handover = _handovers.get(loop)
    if handover is None:
        for old in [old for old in _handovers if old.is_closed()]:
            del _handovers[old]
        handover = _handovers[loop] = Handover(loop)
    return handover
