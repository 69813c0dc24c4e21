"""How much a layer carries."""

from __future__ import annotations

from collections import deque
from typing import Final, TypedDict

WINDOW_S: Final = 60.0
"""A rate is that of the last minute, as near as there are samples from it."""

SAMPLE_S: Final = 1.0
"""Samples are at least so far apart, which bounds their number."""


class Statistics(TypedDict):
    """The figures of a layer, or of one channel; ages are seconds."""

    messages_count: int
    messages_count_per_second: float
    messages_pending: int
    messages_max_age: float
    channel_full_count: int
    channel_full_count_per_second: float
    messages_lost_count: int
    """Messages that were in the hands of a process when it was killed."""


class Rate:
    """How fast a count grows. Whoever counts only counts: a sample is taken whenever somebody asks."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def per_second(self, now: float, count: int) -> float:
        """The growth since the sample that is a minute old; since the beginning, if there is none yet."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()
        then, count_then = samples[0]
        if now >= samples[-1][0] + SAMPLE_S:
            samples.append((now, count))
        return (count - count_then) / (now - then) if now > then else 0.0
