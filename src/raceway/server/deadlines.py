"""One coarse clock for all connections of a server, instead of a timer handle per request.

A connection names the moment by which its client owes it something. Putting that moment off, which happens with
each request, costs one attribute: the connection stays in its earlier slot and is moved on when that slot is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

NEVER: Final = float("inf")
SLOT_S: Final = 0.1
"""Width of a slot in seconds: a deadline is noticed at most this late."""


class Timed(Protocol):
    """What can be watched: the slot is this module's, the deadline the owner's."""

    slot: float

    @property
    def deadline(self) -> float: ...

    def on_deadline(self, now: float) -> None:
        """The deadline has passed: act, and set another or none."""


class Deadlines:
    """Call ``on_deadline`` of each watched connection soon after its deadline; ``tick`` is called every slot."""

    __slots__ = ("_next", "_slots")

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._next = int(now / SLOT_S)

    def watch(self, timed: Timed) -> None:
        """Make sure that ``timed`` is looked at when its deadline has passed."""
        deadline = timed.deadline
        if deadline == NEVER:
            return
        slot = max(int(deadline / SLOT_S) + 1, self._next)
        if slot >= timed.slot:
            return
        if timed.slot != NEVER:
            self.forget(timed)
        timed.slot = slot
        members = self._slots.get(slot)
        if members is None:
            self._slots[slot] = {timed}
        else:
            members.add(timed)

    def forget(self, timed: Timed) -> None:
        """Let go of a connection that is closed, at once and completely."""
        if timed.slot != NEVER:
            slot = int(timed.slot)
            members = self._slots.get(slot)
            if members is not None:
                members.discard(timed)
                if not members:
                    del self._slots[slot]
            timed.slot = NEVER

    def tick(self, now: float, report: Callable[[Exception], None]) -> None:
        """Look at every slot that is due; what a callback raises is reported and stops no other."""
        last = int(now / SLOT_S)
        while self._next <= last:
            members = self._slots.pop(self._next, None)
            self._next += 1
            if members is None:
                continue
            for timed in members:
                timed.slot = NEVER
            for timed in members:
                if timed.deadline <= now:
                    try:
                        timed.on_deadline(now)
                    except Exception as error:
                        report(error)
                self.watch(timed)

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))
