"""The presences of a layer inside one process: its roster, with the lock, the timer and the way out for effects."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from raceway.layers.front import PresenceChanged, running_loop
from raceway.layers.roster import Effect, Roll, Roster

listener: PresenceChanged | None = None
"""Takes the changes of layers that have not been told of another; put here by ``raceway.presence``, which layers must
not import. In a process that never imports that, nobody has asked for signals."""


def tell_listener(presence: str, kind: str, key: str, metas: list[dict[str, Any]]) -> None:
    if listener is not None:
        listener(presence, kind, key, metas)


class Presences:
    """A roster that any thread may use. ``act(effect)`` is called for each effect, in order, one at a time and without
    a lock: it may use the roster again. ``clock`` is in seconds.

    The timer is one of the running loop; one that is lost with its loop is made up for by whoever comes next.
    """

    def __init__(self, act: Callable[[Effect], object], clock: Callable[[], float]) -> None:
        self._act = act
        self._clock = clock
        self._lock = threading.Lock()
        self._roster = Roster()
        self._effects: deque[Effect] = deque()
        self._is_acting = False
        self._timer: tuple[float, asyncio.AbstractEventLoop] | None = None

    def enter(
        self, presence: str, key: str, channel: str, meta: dict[str, Any], grace_s: float, owner: Hashable
    ) -> None:
        """See ``Roster.enter``."""
        with self._lock:
            now = self._wake()
            self._effects += self._roster.enter(presence, key, channel, meta, grace_s, owner, now)
        self._go_on()

    def exit(self, presence: str | None, channel: str) -> None:
        """See ``Roster.exit``."""
        if not self._roster:  # what most connections have to do with it
            return
        with self._lock:
            now = self._wake()
            self._effects += self._roster.exit(presence, channel, now)
        self._go_on()

    def forget_owner(self, owner: Hashable) -> None:
        """See ``Roster.forget_owner``; what follows is done later, as the caller may hold locks."""
        if not self._roster:
            return
        with self._lock:
            self._effects += self._roster.forget_owner(owner, self._wake())
        loop = running_loop()
        if loop is not None:
            loop.call_soon(self._go_on)

    def roll(self, presence: str) -> Roll:
        """Who is there. The metadata is the roster's own."""
        with self._lock:
            self._wake()
            roll = self._roster.roll(presence)
        self._go_on()
        return roll

    def count(self, presence: str) -> int:
        """How many persons are there."""
        with self._lock:
            self._wake()
            number = self._roster.count(presence)
        self._go_on()
        return number

    def _wake(self) -> float:
        """Do what is due, before anything else; returns the time. The lock is held."""
        now = self._clock()
        deadline = self._roster.deadline
        if deadline is not None and deadline <= now:
            self._effects += self._roster.wake(now)
        return now

    def _go_on(self) -> None:
        """Act on the effects, unless somebody does so already, and see to the timer."""
        while True:
            with self._lock:
                self._set_timer()
                if self._is_acting or not self._effects:
                    return
                effect = self._effects.popleft()
                self._is_acting = True
            try:
                self._act(effect)
            finally:
                self._is_acting = False

    def _set_timer(self) -> None:
        loop = running_loop()
        deadline = self._roster.deadline
        if loop is None or deadline is None:
            return
        if self._timer is None or deadline < self._timer[0] or self._timer[1].is_closed():
            self._timer = deadline, loop
            loop.call_later(max(0.0, deadline - self._clock()), self._timer_is_up, deadline)

    def _timer_is_up(self, at: float) -> None:
        with self._lock:
            if self._timer is not None and self._timer[0] == at:
                self._timer = None
            self._wake()
        self._go_on()
