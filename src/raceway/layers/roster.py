"""Who is there: presences as a value, without a clock, locks or I/O. A layer has one, in its broker or its process.

A presence is a named list of persons, each known by a key. A person has connections, and is there as long as it has
one, and for a period of grace afterwards, which hides reconnects. Whoever holds the roster calls a method with the
time, acts on the effects that it returns, and calls ``wake`` at ``deadline``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, Literal, TypeAlias

import msgspec

DIFF_WINDOW_S: Final = 0.05
"""After a diff, the next one of its presence waits so long, and is for all that happened meanwhile ..."""

DIFF_PER_MEMBER_S: Final = 0.0002
"""... and so much longer for each connection in the presence: about 5,000 deliveries per second in one of any size."""

DIFF_CONNECTIONS: Final = 1000
"""A diff of more connections is cut into several, between persons: with the largest metadata it has some 4 MiB."""

HASH_DIGITS: Final = 32
PLAIN_NAME: Final = re.compile(r"(?![0-9a-f]{32}$).{1,80}")
"""Names that stand in a group's name as they are; one that looks like a hash is hashed too, as it may be another's."""

Meta: TypeAlias = dict[str, Any]
Roll: TypeAlias = dict[str, list[Meta]]
"""The persons that are there, by key, each with the metadata of its connections."""


@dataclass(frozen=True, slots=True)
class Change:
    """A person has joined or left: to be signalled once, by the process of ``owner``; by any other if that one is
    gone. ``metas`` are those that it came with, or had last."""

    presence: str
    kind: Literal["joined", "left"]
    key: str
    metas: list[Meta]
    owner: Hashable


@dataclass(frozen=True, slots=True)
class Diff:
    """What has changed since the last diff: to be published, as ``event``, to ``presence_group(presence)``."""

    presence: str
    joined: Roll = field(default_factory=dict)
    changed: Roll = field(default_factory=dict)
    left: Roll = field(default_factory=dict)
    """With the metadata that members know of."""

    @property
    def encoded(self) -> bytes:
        """``event`` as layers carry it."""
        return _encode(self.event)

    @property
    def event(self) -> dict[str, Any]:
        """The event that consumers get in ``presence_diff``."""
        return {
            "type": "presence.diff",
            "presence": self.presence,
            "joined": self.joined,
            "changed": self.changed,
            "left": self.left,
        }


Effect: TypeAlias = Change | Diff

_encode: Final = msgspec.msgpack.Encoder().encode


PRESENCE_GROUPS: Final = "raceway.presence."
"""What the names of all these groups begin with."""


def presence_group(presence: str) -> str:
    """The group of the channels that get a presence's diffs."""
    is_plain = PLAIN_NAME.fullmatch(presence)
    return f"{PRESENCE_GROUPS}{presence if is_plain else sha256(presence.encode()).hexdigest()[:HASH_DIGITS]}"


class _Timed:
    """What has a timer in the roster; ``timer_at`` is when it goes off."""

    __slots__ = ("timer_at",)

    def __init__(self) -> None:
        self.timer_at: float | None = None


class _Person(_Timed):
    """Somebody in one presence."""

    __slots__ = ("connections", "is_there", "key", "last_meta", "members_know", "owner", "presence", "until")

    def __init__(self, presence: _Presence, key: str) -> None:
        super().__init__()
        self.presence = presence
        self.key = key
        self.connections: dict[str, _Connection] = {}
        self.is_there = False
        self.until = 0.0
        """When the grace ends of all connections that have gone since there was none before."""
        self.last_meta: Meta = {}
        """For the time of grace."""
        self.owner: Hashable = None
        """Of the connection that came or went last."""
        self.members_know: list[Meta] | None = None
        """The metadata that diffs have told so far; ``None``: they have not told of this person."""

    @property
    def metas(self) -> list[Meta]:
        if self.connections:
            return [connection.meta for connection in self.connections.values()]
        return [self.last_meta]


class _Presence(_Timed):
    """One presence, and what its members have not been told yet."""

    __slots__ = ("connection_count", "name", "people", "ready_at", "untold")

    def __init__(self, name: str, now: float) -> None:
        super().__init__()
        self.name = name
        self.people: dict[str, _Person] = {}
        self.connection_count = 0
        self.untold: dict[str, _Person] = {}
        """Persons that may differ from what members know; also those that have left."""
        self.ready_at = now
        """The next diff may go then."""


class _Connection:
    """One channel's place in one presence."""

    __slots__ = ("grace_s", "meta", "person")

    def __init__(self, person: _Person, meta: Meta, grace_s: float) -> None:
        self.person = person
        self.meta = meta
        self.grace_s = grace_s


class _Channel:
    """One channel: whose it is, and its connections by presence."""

    __slots__ = ("connections", "name", "owner")

    def __init__(self, name: str, owner: Hashable) -> None:
        self.name = name
        self.owner = owner
        self.connections: dict[str, _Connection] = {}


class Roster:
    """All presences of a layer. What an enter or an exit costs does not depend on how many are there.

    Times are seconds of one clock, and may lie in the past for ``forget_owner``.
    """

    def __init__(self) -> None:
        self._presences: dict[str, _Presence] = {}
        self._channels: dict[str, _Channel] = {}
        self._owned: dict[Hashable, dict[str, _Channel]] = {}
        self._timers: list[tuple[float, int, _Timed]] = []
        """A heap; an entry whose time is not its thing's ``timer_at`` is void."""
        self._numbers = count()

    def __len__(self) -> int:
        """What is kept; for tests that nothing is left behind."""
        return len(self._presences) + len(self._channels) + len(self._owned) + len(self._timers)

    @property
    def deadline(self) -> float | None:
        """When to call ``wake``."""
        return self._timers[0][0] if self._timers else None

    def enter(
        self,
        presence: str,
        key: str,
        channel: str,
        meta: Meta,
        grace_s: float,
        owner: Hashable,
        now: float,
        *,
        again: bool = False,
    ) -> list[Effect]:
        """A connection is there for the person ``key``; a second time, with other ``meta`` or for another person.

        ``again``: it was there before, in a roster that has been lost, so its person has not joined just now:
        nothing is signalled, and members hear of it as changed.
        """
        place = self._presences.get(presence)
        if place is None:
            place = self._presences[presence] = _Presence(presence, now)
        effects: list[Effect] = []
        known = self._channel(channel, owner)
        connection = known.connections.get(presence)
        if connection is not None and connection.person.key != key:
            self._remove(known, place, now, has_grace=False, effects=effects)
            known = self._channel(channel, owner)
            connection = None
        if connection is None:
            person = self._person(place, key)
            connection = known.connections[presence] = _Connection(person, meta, grace_s)
            if not person.connections:
                person.until = now
            person.connections[channel] = connection
            place.connection_count += 1
        else:
            person = connection.person
            connection.meta, connection.grace_s = meta, grace_s
        person.owner = owner
        if not person.is_there:
            person.is_there = True
            if not again:
                effects.append(Change(presence, "joined", key, person.metas, owner))
            elif person.members_know is None:
                person.members_know = []
        place.untold[key] = person
        self._settle(place, now, effects)
        return effects

    def exit(self, presence: str | None, channel: str, now: float) -> list[Effect]:
        """A connection is there no more. In all presences (``None``): it has ended, and its persons have their grace
        to come back. In one: it says so itself, and its person leaves at once if it has no other."""
        effects: list[Effect] = []
        known = self._channels.get(channel)
        if known is None:
            return effects
        for name in [*known.connections] if presence is None else [presence]:
            place = self._presences.get(name)
            if place is not None and name in known.connections:
                self._remove(known, place, now, has_grace=presence is None, effects=effects)
                self._settle(place, now, effects)
        return effects

    def forget_owner(self, owner: Hashable, now: float) -> list[Effect]:
        """All connections of ``owner`` have ended at ``now``, when it was last heard of; ``wake`` afterwards."""
        effects: list[Effect] = []
        places: dict[str, _Presence] = {}
        for channel in [*self._owned.get(owner, {}).values()]:
            for name in [*channel.connections]:
                place = places[name] = self._presences[name]
                self._remove(channel, place, now, has_grace=True, effects=effects)
        for place in places.values():
            self._schedule(place, place.ready_at)  # diffs go by the time that it is
        return effects

    def wake(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        places: dict[str, _Presence] = {}
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, _, timed = heappop(timers)
            if timed.timer_at != at:
                continue
            timed.timer_at = None
            if isinstance(timed, _Presence):
                places[timed.name] = timed
            elif isinstance(timed, _Person) and timed.is_there and not timed.connections:
                self._leave_if_due(timed, now, effects)
                places[timed.presence.name] = timed.presence
        for place in places.values():
            self._settle(place, now, effects)
        return effects

    def roll(self, presence: str) -> Roll:
        """Who is there; who is in the time of grace with its last metadata."""
        place = self._presences.get(presence)
        return {} if place is None else {key: person.metas for key, person in place.people.items()}

    def count(self, presence: str) -> int:
        """How many persons are there."""
        place = self._presences.get(presence)
        return 0 if place is None else len(place.people)

    def graces(self, now: float) -> list[tuple[str, str, Meta, float]]:
        """Who has no connection and may come back: presence, key, last metadata, and for how many seconds."""
        return [
            (place.name, person.key, person.last_meta, person.until - now)
            for place in self._presences.values()
            for person in place.people.values()
            if not person.connections and person.until > now
        ]

    def entries(self, owner: Hashable) -> list[tuple[str, str]]:
        """The places of an owner's connections, by presence and channel."""
        channels = self._owned.get(owner, {}).values()
        return [(presence, channel.name) for channel in channels for presence in channel.connections]

    # Coming and going

    def _channel(self, name: str, owner: Hashable) -> _Channel:
        """The record of a channel, which is its newest owner's."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name, owner)
        elif channel.owner != owner:
            self._disown(channel)
            channel.owner = owner
        self._owned.setdefault(owner, {})[name] = channel
        return channel

    def _disown(self, channel: _Channel) -> None:
        owned = self._owned[channel.owner]
        del owned[channel.name]
        if not owned:
            del self._owned[channel.owner]

    def _person(self, place: _Presence, key: str) -> _Person:
        person = place.people.get(key)
        if person is None:
            # Who left in this window is remembered there, with what members know.
            person = place.people[key] = place.untold.get(key) or _Person(place, key)
        return person

    def _remove(
        self, channel: _Channel, place: _Presence, now: float, *, has_grace: bool, effects: list[Effect]
    ) -> None:
        """Take a channel out of one presence; what members have to know of it is left to ``_settle``."""
        connection = channel.connections.pop(place.name)
        if not channel.connections:
            self._disown(channel)
            del self._channels[channel.name]
        person = connection.person
        del person.connections[channel.name]
        place.connection_count -= 1
        person.last_meta, person.owner = connection.meta, channel.owner
        if has_grace:
            person.until = max(person.until, now + connection.grace_s)
        place.untold[person.key] = person
        if not person.connections:
            self._leave_if_due(person, now, effects)

    def _leave_if_due(self, person: _Person, now: float, effects: list[Effect]) -> None:
        """Somebody without a connection leaves when the grace is over."""
        if person.until > now:
            self._schedule(person, person.until)
            return
        place = person.presence
        person.is_there = False
        del place.people[person.key]
        place.untold[person.key] = person
        effects.append(Change(place.name, "left", person.key, person.metas, person.owner))

    # What members are told

    def _settle(self, place: _Presence, now: float, effects: list[Effect]) -> None:
        """Tell members what they do not know, if it is time for that, and forget a presence that nobody is in."""
        if place.untold:
            if place.ready_at > now:
                self._schedule(place, place.ready_at)
                return
            diffs = _diffs(place)
            if diffs:
                effects += diffs
                window_s = DIFF_WINDOW_S + place.connection_count * DIFF_PER_MEMBER_S
                place.ready_at = now + window_s
        if not place.people:
            if place.ready_at > now:
                self._schedule(place, place.ready_at)
            elif self._presences.get(place.name) is place:
                del self._presences[place.name]

    def _schedule(self, timed: _Timed, at: float) -> None:
        """Have ``wake`` look at it by then. One that has a timer already keeps it: an earlier look costs little."""
        if timed.timer_at is None or at < timed.timer_at:
            timed.timer_at = at
            heappush(self._timers, (at, next(self._numbers), timed))


def _diffs(place: _Presence) -> list[Diff]:
    """What members do not know yet; from now on they do."""
    diffs: list[Diff] = []
    room = 0
    for key, person in place.untold.items():
        metas = person.metas if person.is_there else None
        known, person.members_know = person.members_know, metas
        if _is_same(metas, known):
            continue
        told = known or [] if metas is None else metas
        if not diffs or len(told) > room:
            diffs.append(Diff(place.name))
            room = DIFF_CONNECTIONS
        room -= len(told)
        if metas is None:
            diffs[-1].left[key] = told
        elif known is None:
            diffs[-1].joined[key] = told
        else:
            diffs[-1].changed[key] = told
    place.untold.clear()
    return diffs


def _is_same(one: list[Meta] | None, other: list[Meta] | None) -> bool:
    """Whether members would read the same; ``1`` and ``True`` are equal, and not that."""
    if one is None or other is None:
        return one is other
    return one == other and _encode(one) == _encode(other)
