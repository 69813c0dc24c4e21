"""What a process keeps of the groups that its named channels are in, for the next broker."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Final

from raceway.layers.local.wire import AddNamed, DiscardNamed, FromMember

logger = logging.getLogger("raceway.layers")

KEPT_NAMES: Final = 10_000
"""Memberships of named channels that a process says again to the next broker; of more the first to end are not."""


class KeptNames:
    """The named channels that this process has added to groups, until when each is a member: the next broker hears of
    them again. All members of a process share it, as one may discard what another has added; so from any thread."""

    def __init__(self, limit: int = KEPT_NAMES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._names: OrderedDict[tuple[str, str], AddNamed] = OrderedDict()
        """By group and channel; the first to end comes first, as all are added for the same time."""
        self._broker: str | None = None
        """Who has heard of them."""
        self._has_forgotten = False

    def __len__(self) -> int:
        return len(self._names)

    def add(self, group: str, channel: str, until: float, capacity: int) -> None:
        """The broker has made it a member."""
        with self._lock:
            self._names[group, channel] = AddNamed(0, group, channel, until, capacity)
            self._names.move_to_end((group, channel))
            if len(self._names) <= self._limit:
                return
            self._names.popitem(last=False)
            if self._has_forgotten:
                return
            self._has_forgotten = True
        logger.warning(
            "This process has added more than %d named channels to groups: should the broker be replaced, the next "
            "one does not hear of those that were added first.",
            self._limit,
        )

    def discard(self, group: str, channel: str) -> None:
        with self._lock:
            self._names.pop((group, channel), None)

    def note(self, asked: FromMember) -> None:
        """The broker has done what it was asked for."""
        if isinstance(asked, AddNamed):
            self.add(asked.group, asked.channel, asked.until, asked.capacity)
        elif isinstance(asked, DiscardNamed):
            self.discard(asked.group, asked.channel)

    def clear(self) -> None:
        with self._lock:
            self._names.clear()

    def expire(self, now: float) -> None:
        with self._lock:
            names = self._names
            while names and next(iter(names.values())).until <= now:
                names.popitem(last=False)

    def for_broker(self, broker: str, now: float) -> list[AddNamed]:
        """What the broker that has just answered has to hear: nothing, if another member of this process said it."""
        self.expire(now)
        with self._lock:
            if broker == self._broker:
                return []
            self._broker = broker
            return list(self._names.values())
