"""The figures of channels."""

from __future__ import annotations

from raceway.layers.redis.requests import Figures
from raceway.layers.redis.tally import REMEMBERED_CHANNELS, Tally


def test_the_first_look_knows_the_rate_since_the_channel_was_first_used() -> None:
    tally = Tally(lambda: 100.0)
    figures = tally.of_channel("thumbs", Figures(20, 10, 1, 7, 2_500_000, 10_000_000))
    assert figures == {
        "messages_count": 20,
        "messages_count_per_second": 2.0,
        "messages_pending": 7,
        "messages_max_age": 2.5,
        "channel_full_count": 10,
        "channel_full_count_per_second": 1.0,
        "messages_lost_count": 1,
    }


def test_later_looks_know_the_rate_of_the_last_minute() -> None:
    now = [0.0]
    tally = Tally(lambda: now[0])
    for minute in range(5):
        now[0] = minute * 60.0
        count = 6000 if minute == 0 else 6000 + minute * 60
        found = tally.of_channel("thumbs", Figures(count, 0, 0, 0, 0, int((minute + 1) * 60e6)))
    assert found["messages_count_per_second"] == 1.0


def test_all_channels_together() -> None:
    figures = Tally(lambda: 0.0).of_all([Figures(1, 2, 3, 4, 5_000_000, 0), Figures(10, 20, 30, 40, 1, 0)])
    assert figures["messages_count"] == 11
    assert figures["channel_full_count"] == 22
    assert figures["messages_lost_count"] == 33
    assert figures["messages_pending"] == 44
    assert figures["messages_max_age"] == 5.0


def test_rates_of_so_many_channels_are_remembered() -> None:
    tally = Tally(lambda: 0.0)
    for number in range(REMEMBERED_CHANNELS + 10):
        tally.of_channel(f"c{number}", Figures(0, 0, 0, 0, 0, 0))
    assert len(tally._rates) == REMEMBERED_CHANNELS
