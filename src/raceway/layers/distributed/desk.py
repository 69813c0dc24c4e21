"""The presences of several processes, as one of them keeps them for all: a value, without a clock or I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple, TypeAlias

from raceway.layers.roster import Effect as RosterEffect
from raceway.layers.roster import Roll, Roster

LEASE_S: Final = 15.0
"""A process that the desk has not heard of for so long counts as dead; so does a desk whose lease is older."""


class SayAgain(NamedTuple):
    """``owner`` shall say once more who is there: the desk has another number of its connections."""

    owner: str


Effect: TypeAlias = RosterEffect | SayAgain


class Desk:
    """A roster whose owners are processes that beat. Whoever holds it acts on the effects, and calls ``wake`` at
    ``deadline``, unless it hears nothing of the others itself: then it calls ``refresh`` once it does.
    """

    def __init__(self) -> None:
        self._roster = Roster()
        self._heard: OrderedDict[str, float] = OrderedDict()
        """When each owner was heard last; who was heard first comes first."""

    @property
    def deadline(self) -> float | None:
        """When to call ``wake``."""
        deadlines = [] if self._roster.deadline is None else [self._roster.deadline]
        if self._heard:
            deadlines.append(next(iter(self._heard.values())) + LEASE_S)
        return min(deadlines, default=None)

    @property
    def is_empty(self) -> bool:
        """Nobody is anywhere, and nobody may come back within the grace."""
        return not len(self._roster)

    def knows(self, owner: str) -> bool:
        return owner in self._heard

    def enter(
        self,
        owner: str,
        presence: str,
        key: str,
        channel: str,
        meta: dict[str, Any],
        grace_s: float,
        now: float,
        *,
        again: bool,
    ) -> list[Effect]:
        """See ``Roster.enter``."""
        self._hear(owner, now)
        return [*self._roster.enter(presence, key, channel, meta, grace_s, owner, now, again=again)]

    def exit(self, owner: str, presence: str | None, channel: str, now: float) -> list[Effect]:
        """See ``Roster.exit``."""
        self._hear(owner, now)
        return [*self._roster.exit(presence, channel, now)]

    def beat(self, owner: str, entries: int, now: float) -> list[Effect]:
        """``owner`` lives, and has so many entries."""
        self._hear(owner, now)
        return [] if entries == len(self._roster.entries(owner)) else [SayAgain(owner)]

    def whole(self, owner: str, places: set[tuple[str, str]], now: float) -> list[Effect]:
        """``owner`` has no more entries than these, by presence and channel."""
        effects: list[Effect] = []
        for presence, channel in self._roster.entries(owner):
            if (presence, channel) not in places:
                effects += self._roster.exit(presence, channel, now)
        return effects

    def forget(self, owner: str, now: float) -> list[Effect]:
        """``owner`` has gone, in good order; its persons have their grace."""
        self._heard.pop(owner, None)
        return [*self._roster.forget_owner(owner, now), *self._roster.wake(now)]

    def refresh(self, now: float) -> None:
        """Nobody could be heard until now."""
        for owner in self._heard:
            self._heard[owner] = now

    def wake(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        while self._heard and next(iter(self._heard.values())) + LEASE_S <= now:
            owner, heard_at = self._heard.popitem(last=False)
            effects += self._roster.forget_owner(owner, heard_at)
        return [*effects, *self._roster.wake(now)]

    def graces(self, now: float) -> list[tuple[str, str, dict[str, Any], float]]:
        """See ``Roster.graces``."""
        return self._roster.graces(now)

    def roll(self, presence: str) -> Roll:
        return self._roster.roll(presence)

    def count(self, presence: str) -> int:
        return self._roster.count(presence)

    def _hear(self, owner: str, now: float) -> None:
        self._heard[owner] = now
        self._heard.move_to_end(owner)
