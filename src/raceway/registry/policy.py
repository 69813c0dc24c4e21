"""What happens to pushes while a client is slow: a bounded queue and four named policies."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sized
from enum import Enum
from typing import Final, Generic, Literal, TypeAlias, TypeVar, get_args

T = TypeVar("T", bound=Sized)

Policy: TypeAlias = Literal["close", "drop_newest", "drop_oldest", "latest"]
"""Who pays when the queue of a slow client is full.

``close``: the client, it is told to come back later (1013). ``drop_newest``: the push at hand.
``drop_oldest``: the pushes that have waited longest. ``latest``: a push replaces the waiting one of its key.
"""

POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


class Verdict(Enum):
    """What became of a push that was offered to the queue."""

    QUEUED = "queued"
    DROPPED = "dropped"
    OVERFLOWED = "overflowed"


class PushQueue(Generic[T]):
    """Hold what was pushed to one slow client, at most ``limit_bytes`` of it; ``len()`` of an item is its size.

    ``offer`` decides by the push's own policy; ``take`` hands over all that wait, in order, once there is room, and
    ``take_first`` one. ``dropped_oldest`` and ``replaced`` count what had to give way, for the caller to add to its
    counters.
    """

    __slots__ = ("dropped_oldest", "limit_bytes", "replaced", "size_bytes", "waiting")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.waiting: deque[tuple[Hashable, T]] = deque()
        self.dropped_oldest = 0
        self.replaced = 0

    @property
    def first(self) -> T | None:
        return self.waiting[0][1] if self.waiting else None

    def offer(self, item: T, policy: Policy, key: Hashable = None) -> Verdict:
        if policy == "latest":
            self._forget(key)
        size = len(item)
        if self.size_bytes + size > self.limit_bytes:
            if policy == "drop_oldest" and size <= self.limit_bytes:
                self._make_room(size)
            elif policy == "close":
                return Verdict.OVERFLOWED
            else:
                return Verdict.DROPPED
        self.waiting.append((key if policy == "latest" else None, item))
        self.size_bytes += size
        return Verdict.QUEUED

    def take(self) -> list[T]:
        items = [item for _, item in self.waiting]
        self.clear()
        return items

    def take_first(self) -> T:
        """The item that has waited longest. Raises ``IndexError`` if none waits."""
        _, item = self.waiting.popleft()
        self.size_bytes -= len(item)
        return item

    def clear(self) -> None:
        self.waiting.clear()
        self.size_bytes = 0

    def _forget(self, key: Hashable) -> None:
        for index, (waiting_key, item) in enumerate(self.waiting):
            if waiting_key is not None and waiting_key == key:
                del self.waiting[index]
                self.size_bytes -= len(item)
                self.replaced += 1
                return

    def _make_room(self, size_bytes: int) -> None:
        while self.size_bytes + size_bytes > self.limit_bytes:
            self.take_first()
            self.dropped_oldest += 1
