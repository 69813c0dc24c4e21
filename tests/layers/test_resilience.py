"""Messages that are lost on purpose are lost once, counted and told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from raceway.errors import ConfigurationError
from raceway.layers.memory import MemoryLayer
from raceway.layers.resilience import FROM_LOOP, FROM_THREAD
from raceway.signals import message_dropped


class Recorder(MemoryLayer):
    """Notes what it is given to carry; in a transaction, too."""

    def __init__(self, **options: Any) -> None:
        self.carried: list[str] = []
        super().__init__(**options)

    def send_from_thread(self, channel: str, message: Any) -> None:
        self.carried.append(channel)

    def publish_from_thread(self, group: str, *args: Any) -> None:
        self.carried.append(group)

    def start_send_later(self, channel: str, *args: Any) -> Any:
        self.send_later_from_thread(channel, *args)

    def send_later_from_thread(self, channel: str, *args: Any) -> None:
        self.carried.append(channel)

    def in_transaction(self) -> Any:
        return self if self.carried else None


WAYS = {"start_send": (b"",), "start_send_later": (b"", 1.0, "token"), "start_publish": (b"",)}
WAYS |= {theirs: WAYS[ours] for theirs, ours in zip(FROM_THREAD, FROM_LOOP, strict=True)}


@pytest.fixture
def told() -> Iterator[list[Any]]:
    heard: list[Any] = []

    def hear(**said: Any) -> None:
        heard.append((said["sender"], said["channel"], said["capacity"]))

    message_dropped.connect(hear)
    yield heard
    message_dropped.disconnect(hear)


def lose(monkeypatch: pytest.MonkeyPatch, *numbers: float) -> None:
    numbers_left = iter(numbers)
    monkeypatch.setattr("random.random", lambda: next(numbers_left))


@pytest.mark.parametrize("way", WAYS)
def test_a_share_is_lost_and_each_message_is_asked_for_once(
    way: str, monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    layer = Recorder(drop_share=0.5)
    lose(monkeypatch, 0.49, 0.5, 0.1, 0.99)
    for name in "abcd":
        getattr(layer, way)(name, *WAYS[way])
    assert layer.carried == ["b", "d"]
    assert layer.dropped_count == 2
    assert told == [(Recorder, "a", None), (Recorder, "c", None)]


def test_in_a_transaction_too(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Recorder(drop_share=0.5)
    assert layer.in_transaction() is None
    layer.carried.append("first")
    lose(monkeypatch, 0, 0.9, 0)
    writer: Any = layer.in_transaction()
    writer.send_from_thread("a", b"")
    writer.publish_from_thread("b", b"")
    writer.send_later_from_thread("c", b"", 1.0, "token")
    assert (layer.carried, layer.dropped_count) == (["first", "b"], 2)


def test_what_was_lost_can_be_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Recorder(drop_share=0.5)
    lose(monkeypatch, 0)
    with pytest.raises(StopIteration):
        layer.send("a", {"type": "n"}).send(None)


def test_it_is_off_and_says_so_when_it_is_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "raceway.layers"):
        layer = Recorder()
        assert (vars(layer).keys() & {*WAYS, "in_transaction"}, caplog.text) == (set(), "")
        Recorder(drop_share=0.25)
    assert [record.message for record in caplog.records] == [
        "Recorder drops 25% of all messages on purpose (drop_share)."
    ]


@pytest.mark.parametrize("share", [1, -0.1, True, "0.1", None, float("nan")], ids=repr)
def test_an_impossible_share(share: Any) -> None:
    with pytest.raises(ConfigurationError, match="drop_share is a number from 0 to below 1"):
        MemoryLayer(drop_share=share)
