"""A clock that tests can move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Final

from raceway import clock
from raceway.testing.thread import in_either

TURNS: Final = 1000
"""Passes of the event loop after which one that is always busy is taken as it is."""


STEP_S: Final = 0.001
"""The least that it moves at a time, so that a timer that starts itself again at once does not hold it up."""


class Clock:
    """Let time pass at once: what Raceway measures, and the running event loop's timers.

    ::

        with Clock() as clock:
            await clock.advance(30)  # in a def test without await

    ``asyncio.sleep``, ``wait_for``, ``call_later`` and whatever else uses the loop's time find that 30 seconds have
    passed; so do expiry, leases and tokens. Time also goes on by itself. Leaving takes all moves back. Neither
    ``time.time()`` nor Django's ``timezone.now()`` move: there are libraries for that.
    """

    moved_s: float = 0.0
    """How far the clock has been moved, in seconds."""

    def __init__(self) -> None:
        self._times: dict[asyncio.AbstractEventLoop, Callable[[], float]] = {}

    def __enter__(self) -> Clock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for loop in self._times:
            vars(loop).pop("time", None)
        self._times.clear()
        clock.move(-self.moved_s)
        self.moved_s = 0.0

    def advance(self, seconds: float) -> Awaitable[None]:
        """Let it be ``seconds`` later; returns when every timer that was due has run, each at its own time.

        What those wake in other threads may still be under way. To be awaited in an ``async def`` test. Raises
        ``ValueError`` for a time that lies back, ``RuntimeError`` on an event loop whose time is not Python's.
        """
        if seconds < 0:
            raise ValueError(f"A clock goes forward, not by {seconds} s.")
        return in_either(partial(self._advance, seconds))

    async def _advance(self, seconds: float) -> None:
        loop: Any = asyncio.get_running_loop()
        self._attach(loop)
        await _settle(loop)
        target = self.moved_s + seconds
        while (due := _next_timer(loop)) is not None and due - loop.time() < target - self.moved_s:
            self._move(max(due - loop.time(), STEP_S))
            await _settle(loop)
        self._move(max(target - self.moved_s, 0.0))
        await _settle(loop)

    def _attach(self, loop: Any) -> None:
        """Let ``loop`` read this clock."""
        if loop in self._times:
            return
        if not hasattr(loop, "_scheduled"):
            raise RuntimeError(
                f"{loop!r} keeps its own time: use asyncio's event loop in tests that move the clock."
            )
        real = self._times[loop] = loop.time
        loop.time = lambda: real() + self.moved_s

    def _move(self, seconds: float) -> None:
        self.moved_s += seconds
        clock.move(seconds)


# asyncio has no public way to ask for these two; they have been where they are since Python 3.4.


def _next_timer(loop: Any) -> float | None:
    """When the next timer is due."""
    return min((timer.when() for timer in loop._scheduled if not timer.cancelled()), default=None)


async def _settle(loop: Any) -> None:
    """Let the loop do all that it can do now."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
        if not loop._ready:
            return
