"""Keep the commands about one slot of a Cluster in order while the slot moves from node to node; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raceway.layers.redis.topology import Place


@dataclass(slots=True, eq=False)
class Call:
    """One command, until it has its answer."""

    tag: str
    command: bytes
    answer: Any
    """Whoever waits for it."""
    until: float
    """When to give up, if no node has done it by then; as a loop's time."""
    number: int = 0


@dataclass(slots=True)
class Lane:
    """The calls about one slot. What a node refused because the slot is elsewhere is written again, before what came
    later; a command is written to another node only when all that were written before have been answered.
    """

    place: Place | None = None
    in_flight: int = 0
    held: deque[Call] = field(default_factory=deque)
    again: list[Call] = field(default_factory=list)
    not_before: float = 0.0
    """No node serves the slot until then; as a loop's time."""
    last_number: int = 0

    @property
    def is_idle(self) -> bool:
        return not (self.in_flight or self.held or self.again)

    @property
    def is_holding(self) -> bool:
        return bool(self.held or self.again)

    def add(self, call: Call, place: Place | None) -> bool:
        """Whether to write a new call to ``place``, where the slot is; otherwise it is held."""
        self.last_number += 1
        call.number = self.last_number
        if place is None or self.is_holding or (self.in_flight and place != self.place):
            self.held.append(call)
            return False
        self.place = place
        self.in_flight += 1
        return True

    def answered(self, call: Call) -> list[Call]:
        """Those that were refused, and cannot be written again in order: a later one is done."""
        self.in_flight -= 1
        overtaken = [one for one in self.again if one.number < call.number]
        self.again = [one for one in self.again if one.number > call.number]
        return overtaken

    def refused(self, call: Call) -> None:
        """It was not done, and is to be written again."""
        self.in_flight -= 1
        self.again.append(call)

    def take(self, place: Place) -> list[Call]:
        """What to write to ``place`` now, in order."""
        if self.in_flight:
            return []
        calls = sorted(self.again, key=lambda call: call.number) + list(self.held)
        self.again.clear()
        self.held.clear()
        self.place = place
        self.in_flight = len(calls)
        return calls

    def take_late(self, is_late: Callable[[Call], bool]) -> list[Call]:
        """Those that nobody has done and nobody waits for any longer."""
        late = [call for call in (*self.again, *self.held) if is_late(call)]
        self.again = [call for call in self.again if call not in late]
        self.held = deque(call for call in self.held if call not in late)
        return late
