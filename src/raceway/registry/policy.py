"""What happens to pushes while a client is slow: a bounded queue and four named policies."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Final, Literal, TypeAlias, get_args

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


class PushQueue:
    """Hold the frames pushed to one slow client, at most ``limit_bytes`` of them.

    ``offer`` decides by the push's own policy; ``take`` hands over all that wait, in order, once there is room.
    ``dropped_oldest`` and ``replaced`` count what had to give way, for the caller to add to its counters.
    """

    __slots__ = ("dropped_oldest", "frames", "limit_bytes", "replaced", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.frames: list[tuple[Hashable, bytes]] = []
        self.dropped_oldest = 0
        self.replaced = 0

    def offer(self, frame: bytes, policy: Policy, key: Hashable = None) -> Verdict:
        if policy == "latest":
            self._forget(key)
        size = len(frame)
        if self.size_bytes + size > self.limit_bytes:
            if policy == "drop_oldest" and size <= self.limit_bytes:
                self._make_room(size)
            elif policy == "close":
                return Verdict.OVERFLOWED
            else:
                return Verdict.DROPPED
        self.frames.append((key if policy == "latest" else None, frame))
        self.size_bytes += size
        return Verdict.QUEUED

    def take(self) -> list[bytes]:
        frames = [frame for _, frame in self.frames]
        self.clear()
        return frames

    def clear(self) -> None:
        self.frames.clear()
        self.size_bytes = 0

    def _forget(self, key: Hashable) -> None:
        for index, (waiting_key, frame) in enumerate(self.frames):
            if waiting_key is not None and waiting_key == key:
                del self.frames[index]
                self.size_bytes -= len(frame)
                self.replaced += 1
                return

    def _make_room(self, size_bytes: int) -> None:
        index = 0
        while self.size_bytes + size_bytes > self.limit_bytes:
            self.size_bytes -= len(self.frames[index][1])
            index += 1
        del self.frames[:index]
        self.dropped_oldest += index
