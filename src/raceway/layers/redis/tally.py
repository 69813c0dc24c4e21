"""The figures of channels, as servers count them and as ``Statistics`` says them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from raceway.layers.redis.requests import Figures
from raceway.layers.statistics import Rate, Statistics

REMEMBERED_CHANNELS: Final = 1000
"""Channels whose rates are known from more than one look at them."""


class Tally:
    """Make rates of counts that somebody else keeps. ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rates: dict[str, tuple[Rate, Rate]] = {}

    def of_channel(self, channel: str, figures: Figures) -> Statistics:
        now = self._clock()
        if channel not in self._rates and len(self._rates) >= REMEMBERED_CHANNELS:
            del self._rates[next(iter(self._rates))]
        first_used_at = now - figures.used_us / 1_000_000
        put, full = self._rates.setdefault(channel, (Rate(first_used_at), Rate(first_used_at)))
        return {
            "messages_count": figures.put,
            "messages_count_per_second": put.per_second(now, figures.put),
            "messages_pending": figures.pending,
            "messages_max_age": figures.age_us / 1_000_000,
            "channel_full_count": figures.full,
            "channel_full_count_per_second": full.per_second(now, figures.full),
            "messages_lost_count": figures.lost,
        }

    def of_all(self, all_figures: Sequence[Figures]) -> Statistics:
        """Sums, and the greatest age. What goes how fast is known of the own process only: rates are 0."""
        return {
            "messages_count": sum(figures.put for figures in all_figures),
            "messages_count_per_second": 0.0,
            "messages_pending": sum(figures.pending for figures in all_figures),
            "messages_max_age": max((figures.age_us for figures in all_figures), default=0) / 1_000_000,
            "channel_full_count": sum(figures.full for figures in all_figures),
            "channel_full_count_per_second": 0.0,
            "messages_lost_count": sum(figures.lost for figures in all_figures),
        }
